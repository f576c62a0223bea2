"""What strategies cost in money, by prices that the user gives. Kind `priced`; nothing here has a default price."""
