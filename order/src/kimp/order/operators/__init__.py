"""What stands between the trader and its owner: notices in words, switches, and later the bot and the dashboard."""
