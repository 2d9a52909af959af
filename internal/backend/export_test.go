package backend

import "time"

// Within is how long an S3 store waits for an answer.
func Within(s Store) time.Duration { return s.(*s3Store).within }

// SetWithin makes an S3 store wait that long.
func SetWithin(s Store, d time.Duration) { s.(*s3Store).within = d }
