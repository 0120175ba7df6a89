"""What tests of code on Holdfast need: virtual time and a provider in memory. No network, no real waiting."""
