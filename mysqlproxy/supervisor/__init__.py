"""Process, signals, reload, systemd."""
