"""The style that every plot shares, for Matplotlib and for SVG."""
