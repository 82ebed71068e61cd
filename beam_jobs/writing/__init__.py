"""Examples and refused rows → files."""
