package text

import "time"

// Duration formats a duration rounded to seconds ("41s", "1h2m3s"). A negative duration, as after a clock step,
// becomes "0s".
func Duration(d time.Duration) string {
	return max(d, 0).Round(time.Second).String()
}
