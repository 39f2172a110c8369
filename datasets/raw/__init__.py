"""What every builder of raw tables uses: reading, staging, features and hourly series, drug names, checksums, download."""
