package schedule

import (
	"strconv"
	"strings"
	"time"
)

// Bounds of a slot in minutes since 1970: eight digits, from the year 2020 on. A date at the end of a name that
// somebody chose (report-20261120) is smaller.
const (
	slotDigits  = 8
	firstMinute = 26297280
)

// SlotFromJobName returns the slot for which a CronJob's Job was made. Kubernetes names the Job <cronjob>-<minutes
// since 1970>. It returns false for a Job that somebody made from the CronJob by hand.
func SlotFromJobName(jobName string) (time.Time, bool) {
	at := strings.LastIndexByte(jobName, '-')
	if at < 1 || len(jobName)-at-1 != slotDigits {
		return time.Time{}, false
	}
	minutes, err := strconv.ParseUint(jobName[at+1:], 10, 64)
	if err != nil || minutes < firstMinute {
		return time.Time{}, false
	}
	return time.Unix(int64(minutes)*60, 0).UTC(), true
}
