"""Blocks of networks in pure torch."""
