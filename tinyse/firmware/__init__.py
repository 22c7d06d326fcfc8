"""Firmware: the C library, its third-party parts, project folders and images built from them."""
