"""Gemini: Google's generateContent and streamGenerateContent."""
