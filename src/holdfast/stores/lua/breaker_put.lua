-- ARGV  5 epoch  6 open (1, 0)  7 how long from now, in ms  8 times opened  9 by whom
put(tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8]), ARGV[9])
return standing(0)
