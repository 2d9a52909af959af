package session

import "time"

// FormatDuration writes a duration rounded to seconds ("41s", "1h2m3s"). Less than nothing, as after a step of the
// clock, is "0s".
func FormatDuration(d time.Duration) string {
	return max(d, 0).Round(time.Second).String()
}
