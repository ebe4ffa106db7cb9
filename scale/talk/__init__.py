"""The deck of `scale slides`: editable slides with text that fits, native charts and tables."""
