"""What every builder of raw tables uses: reading, joining, feature blocks, drug names, checksums, download."""
