package schedule

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	_ "time/tzdata" // The manager's image has no zone files.

	"github.com/robfig/cron/v3"
)

// Parse says why a schedule can't be used: the line does not parse, it never fires (0 0 30 2 *), or the time zone is
// unknown. An empty time zone is UTC.
func Parse(schedule, timeZone string) error {
	_, err := read(schedule, timeZone)
	return err
}

// Next is the first slot after from, in UTC. Slots are whole minutes.
func Next(schedule, timeZone string, from time.Time) (time.Time, error) {
	s, err := read(schedule, timeZone)
	if err != nil {
		return time.Time{}, err
	}
	return s.line.Next(from.In(s.zone)).UTC(), nil
}

type parsed struct {
	line cron.Schedule
	zone *time.Location
}

// beforeLeapYear is where the search for a first slot starts: cron looks five years ahead, so that 29 February is found.
var beforeLeapYear = time.Date(2001, time.January, 1, 0, 0, 0, 0, time.UTC)

func read(schedule, timeZone string) (parsed, error) {
	zone, err := location(timeZone)
	if err != nil {
		return parsed{}, err
	}
	// The CronJob API refuses a zone inside the line, and the parser panics where nothing follows it.
	if strings.Contains(schedule, "TZ=") {
		return parsed{}, fmt.Errorf("the schedule %q holds a time zone: say it in scheduler.timeZone", schedule)
	}
	// Its slots would depend on when somebody last looked, and runs are named after their slot.
	if strings.HasPrefix(strings.TrimSpace(schedule), "@every") {
		return parsed{}, fmt.Errorf("the schedule %q has no fixed slots: write five fields, for example */15 * * * *", schedule)
	}
	line, err := cron.ParseStandard(schedule)
	if err != nil {
		return parsed{}, fmt.Errorf("the schedule %q does not parse: %w. Write five fields (minute hour day month weekday) or @hourly, @daily, @weekly, @monthly, @yearly",
			schedule, err)
	}
	if line.Next(beforeLeapYear).IsZero() {
		return parsed{}, fmt.Errorf("the schedule %q never fires: no year has such a day", schedule)
	}
	return parsed{line: line, zone: zone}, nil
}

func location(timeZone string) (*time.Location, error) {
	// The zone of the machine that reads it means something else on every machine.
	if strings.EqualFold(timeZone, "local") {
		return nil, errors.New(`the time zone "Local" is not the same everywhere: name one, for example Europe/Berlin`)
	}
	zone, err := time.LoadLocation(timeZone)
	if err != nil {
		return nil, fmt.Errorf("the time zone %q is unknown: name one of the IANA database, for example Europe/Berlin", timeZone)
	}
	return zone, nil
}

// The minutes since 1970 that a slot may have: eight digits, from 2020 on. A date at the end of a name that somebody chose
// (report-20261120) is smaller.
const (
	slotDigits  = 8
	firstMinute = 26297280
)

// SlotFromJobName is the slot that a CronJob's Job was made for: Kubernetes names it <cronjob>-<minutes since 1970>. It is
// false for a Job that somebody made from the CronJob by hand.
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
