package schedule

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// Identity names a session of a policy object. H keeps its meaning as long as none of these parts changes.
func Identity(kind, namespace, name, session string) string {
	return strings.Join([]string{kind, namespace, name, session}, "/")
}

// field is a field of a cron line. H ranges from lowest to hashed, an explicit range from lowest to highest.
type field struct {
	name                    string
	lowest, highest, hashed uint64
}

// For H, days end at the 28th, so that every month has the day.
var fields = [...]field{
	{"minute", 0, 59, 59},
	{"hour", 0, 23, 23},
	{"day of the month", 1, 31, 28},
	{"month", 1, 12, 12},
	{"day of the week", 0, 6, 6},
}

// hashed matches the forms of H: alone, with a step, with a range, or with both.
var hashed = regexp.MustCompile(`^H(?:\(([0-9]{1,4})-([0-9]{1,4})\))?(?:/([0-9]{1,4}))?$`)

// resolve returns the line without H. Each H becomes a number that depends only on the identity and the field, so
// that many sessions with the same line do not start together, and each starts at the same minute every time.
func resolve(line, identity string) (string, error) {
	words := strings.Fields(line)
	if len(words) != len(fields) {
		return line, nil // either a name such as @hourly, or the parser reports the mistake
	}
	for i, word := range words {
		parts := strings.Split(word, ",")
		for j, part := range parts {
			if !strings.HasPrefix(part, "H") {
				continue
			}
			number, err := fields[i].number(part, hash(identity, i))
			if err != nil {
				return "", fmt.Errorf("invalid schedule %q: %w", line, err)
			}
			parts[j] = number
		}
		words[i] = strings.Join(parts, ",")
	}
	return strings.Join(words, " "), nil
}

// number returns the number or range that one H stands for.
func (f field) number(part string, hash uint64) (string, error) {
	groups := hashed.FindStringSubmatch(part)
	if groups == nil {
		return "", fmt.Errorf("%s %q is not valid: write H, H/15, H(0-29) or H(0-29)/10", f.name, part)
	}
	from, to := f.lowest, f.hashed
	if groups[1] != "" {
		from, to = digits(groups[1]), digits(groups[2])
		if from < f.lowest || to > f.highest || from > to {
			return "", fmt.Errorf("%s %q: the range must lie between %d and %d", f.name, part, f.lowest, f.highest)
		}
	}
	span := to - from + 1
	if groups[3] == "" {
		return strconv.FormatUint(from+hash%span, 10), nil
	}
	step := digits(groups[3])
	if step == 0 || step > span {
		return "", fmt.Errorf("%s %q: the step must be between 1 and %d", f.name, part, span)
	}
	return fmt.Sprintf("%d-%d/%d", from+hash%step, to, step), nil
}

// digits parses what the regular expression has matched as at most four digits.
func digits(s string) uint64 {
	n, _ := strconv.ParseUint(s, 10, 16)
	return n
}

func hash(identity string, field int) uint64 {
	sum := sha256.Sum256([]byte(identity + "\x00" + strconv.Itoa(field)))
	return binary.BigEndian.Uint64(sum[:8])
}
