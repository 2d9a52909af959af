package schedule

import (
	"errors"
	"fmt"
	"strings"
	"time"
	_ "time/tzdata" // The manager's image has no zone files.

	"github.com/robfig/cron/v3"
	"k8s.io/utils/ptr"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// Times are the slots of one session. The zero value has none; New returns a useful one. On a day on which the clock
// changes, the slots are those of a CronJob: a slot that the clock skips is left out, and a slot in the repeated hour
// occurs twice.
type Times struct {
	text string
	line cron.Schedule
	zone *time.Location
}

// New parses a scheduler. identity decides what H stands for. The error says why the schedule can't be used: the line
// does not parse, it never fires (0 0 30 2 *), or the time zone is unknown. An empty time zone means UTC.
func New(scheduler *v1alpha1.SchedulerSpec, identity string) (Times, error) {
	zone, err := Zone(ptr.Deref(scheduler.TimeZone, ""))
	if err != nil {
		return Times{}, err
	}
	text, err := resolve(scheduler.Schedule, identity)
	if err != nil {
		return Times{}, err
	}
	line, err := parse(text, scheduler.Schedule)
	if err != nil {
		return Times{}, err
	}
	return Times{text: text, line: line, zone: zone}, nil
}

// Read parses the result of String.
func Read(text string) (Times, error) {
	scheduler := &v1alpha1.SchedulerSpec{Schedule: text}
	if line, zone, ok := cutZone(text); ok {
		scheduler.Schedule, scheduler.TimeZone = line, &zone
	}
	return New(scheduler, "")
}

// cutZone separates the time zone from a line of five fields or a name such as @daily.
func cutZone(text string) (line, zone string, ok bool) {
	words := strings.Fields(text)
	last := len(words) - 1
	if last != len(fields) && (last != 1 || !strings.HasPrefix(text, "@")) {
		return text, "", false
	}
	return strings.Join(words[:last], " "), words[last], true
}

// Line returns the cron line, with a number for each H.
func (t Times) Line() string { return t.text }

// timeZone returns the time zone of the line.
func (t Times) timeZone() string {
	if t.zone == time.UTC {
		return utc
	}
	return t.zone.String()
}

// String returns the line, followed by its time zone unless that is UTC.
func (t Times) String() string {
	if zone := t.timeZone(); zone != utc {
		return t.text + " " + zone
	}
	return t.text
}

// utc is the name of the zone in the IANA database.
const utc = "Etc/UTC"

// Next returns the first slot after from, in UTC. Slots are whole minutes.
func (t Times) Next(from time.Time) time.Time { return t.line.Next(from.In(t.zone)).UTC() }

// Is reports whether at is a slot.
func (t Times) Is(at time.Time) bool { return t.Next(at.Add(-time.Second)).Equal(at) }

// Newest returns the newest slot that is later than after and not later than until. It returns false if there is
// none.
func (t Times) Newest(after, until time.Time) (time.Time, bool) {
	// The search begins at the end, because the interval can contain years of slots.
	for back := time.Minute; ; back *= 2 {
		from := until.Add(-back)
		if !from.After(after) {
			from = after
		}
		slot := t.Next(from)
		if slot.IsZero() || slot.After(until) {
			if from.Equal(after) {
				return time.Time{}, false
			}
			continue
		}
		for {
			next := t.Next(slot)
			if next.IsZero() || next.After(until) {
				return slot, true
			}
			slot = next
		}
	}
}

// Between returns the number of slots that are later than after and earlier than before, at most most.
func (t Times) Between(after, before time.Time, most int) int {
	n := 0
	for slot := t.Next(after); !slot.IsZero() && slot.Before(before) && n < most; slot = t.Next(slot) {
		n++
	}
	return n
}

// Next returns the first slot after from of a schedule that String wrote, in UTC.
func Next(text string, from time.Time) (time.Time, error) {
	times, err := Read(text)
	if err != nil {
		return time.Time{}, err
	}
	return times.Next(from), nil
}

// beforeLeapYear is where the search for a first slot starts. cron looks five years ahead, so it finds 29 February.
var beforeLeapYear = time.Date(2001, time.January, 1, 0, 0, 0, 0, time.UTC)

// parse parses a line without H. Its mistakes quote what was written: the line with H.
func parse(text, written string) (cron.Schedule, error) {
	// The CronJob API refuses a zone inside the line, and the parser panics if nothing follows it.
	if strings.Contains(text, "TZ=") {
		return nil, fmt.Errorf("the schedule %q contains a time zone: set scheduler.timeZone instead",
			written)
	}
	// The slots of @every would depend on when somebody last looked, and runs are named after their slot.
	if strings.HasPrefix(strings.TrimSpace(text), "@every") {
		return nil, fmt.Errorf("the schedule %q has no fixed slots: write five fields, for example */15 * * * *",
			written)
	}
	line, err := cron.ParseStandard(text)
	if err != nil {
		return nil,
			fmt.Errorf("invalid schedule %q: %w. Write five fields (minute hour day month weekday) or @hourly, "+
				"@daily, @weekly, @monthly, @yearly",
				written, err)
	}
	if line.Next(beforeLeapYear).IsZero() {
		return nil, fmt.Errorf("the schedule %q never fires: its day exists in no year", written)
	}
	return line, nil
}

// Zone returns the time zone of this name in the IANA database; UTC if the name is empty. The error says what to write.
func Zone(timeZone string) (*time.Location, error) {
	// "Local" would mean a different zone on every machine.
	if strings.EqualFold(timeZone, "local") {
		return nil, errors.New(`the time zone "Local" differs between machines: write a name such as Europe/Berlin`)
	}
	zone, err := time.LoadLocation(timeZone)
	if err != nil {
		return nil, fmt.Errorf("unknown time zone %q: write a name of the IANA database such as Europe/Berlin, or "+
			"leave it out for UTC", timeZone)
	}
	return zone, nil
}
