"""What lets everybody use the panel: any width and letters, any colours, the keyboard, a screen reader."""
