package command

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// None stands for an empty cell of a table.
const None = "-"

// OrNone returns s, or the mark of an empty cell.
func OrNone(s string) string {
	if s == "" {
		return None
	}
	return s
}

// Age formats the age of a time as kubectl does.
func Age(now time.Time, t *metav1.Time) string {
	if t == nil || t.IsZero() {
		return None
	}
	return duration.HumanDuration(max(now.Sub(t.Time), 0))
}

// shortHash is the length of shortened commit hashes.
const shortHash = 7

// ShortCommit cuts a commit hash for display.
func ShortCommit(hash string) string {
	if len(hash) > shortHash {
		return hash[:shortHash]
	}
	return hash
}

// ShortRevision shortens the hash of <branch>@sha1:<hash>.
func ShortRevision(revision string) string {
	if at := strings.LastIndex(revision, ":"); at >= 0 {
		return revision[:at+1] + ShortCommit(revision[at+1:])
	}
	return revision
}

// ShortRecords lists the commits of a result, each once.
func ShortRecords(records []v1alpha1.RecordStatus) string {
	var commits []string
	for _, r := range records {
		if c := ShortCommit(r.Commit); c != "" && !slices.Contains(commits, c) {
			commits = append(commits, c)
		}
	}
	return strings.Join(commits, ",")
}

const sizeUnits = "KMGTPE"

// parseSize parses a size from a status, such as "12.222 MiB", into bytes.
func parseSize(s string) (float64, bool) {
	number, unit, ok := strings.Cut(s, " ")
	n, err := strconv.ParseFloat(number, 64)
	if !ok || err != nil {
		return 0, false
	}
	if unit == "B" {
		return n, true
	}
	i := strings.Index(sizeUnits, strings.TrimSuffix(unit, "iB"))
	if len(unit) != 3 || i < 0 {
		return 0, false
	}
	for ; i >= 0; i-- {
		n *= 1024
	}
	return n, true
}

// ShortSize formats bytes with one decimal.
func ShortSize(n float64) string {
	if n < 1024 {
		return fmt.Sprintf("%.0f B", n)
	}
	i := -1
	for n >= 1024 && i < len(sizeUnits)-1 {
		n, i = n/1024, i+1
	}
	return fmt.Sprintf("%.1f %ciB", n, sizeUnits[i])
}

// SumSizes adds sizes from a status. It returns none if none of them is a size.
func SumSizes(sizes ...string) string {
	var sum float64
	found := false
	for _, s := range sizes {
		if n, ok := parseSize(s); ok {
			sum, found = sum+n, true
		}
	}
	if !found {
		return None
	}
	return ShortSize(sum)
}

// Short forms of the kinds of invokers, before a slash and the name.
const (
	PrefixConfiguration = "bc/"
	PrefixBatch         = "batch/"
)
