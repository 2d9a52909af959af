package ledger

import (
	"bytes"
	"cmp"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// How much a Ledger remembers: see LedgerStatus.
const (
	maxNamespaces = 1000
	maxDropped    = 100
	// namedDropped is the number of dropped namespaces that a message or a page names.
	namedDropped = 10
)

// Recorded is what a Ledger has to do with a namespace.
type Recorded string

// The values of Recorded.
const (
	// RecordedStill means that the Ledger records it.
	RecordedStill Recorded = "Still"
	// RecordedNot means that the Ledger does not record it, although it exists.
	RecordedNot Recorded = "Not"
	// RecordedGone means that it does not exist any more, or is being deleted: then nothing is kept secret.
	RecordedGone Recorded = "Gone"
)

// Notice brings up to date what a Ledger remembers of the namespaces that it records, and returns those that it has
// dropped since. found are those of policy that it records now, state says what it has to do with one. It changes
// nothing if state fails.
func Notice(
	status *v1alpha1.LedgerStatus, found []string, state func(namespace string) (Recorded, error), now time.Time,
) (fresh []string, err error) {
	names, dropped := slices.Clone(found), []v1alpha1.DroppedNamespace(nil)
	for _, d := range status.Dropped {
		switch is, err := state(d.Name); {
		case err != nil:
			return nil, err
		case is == RecordedNot:
			dropped = append(dropped, d)
		case is == RecordedStill:
			names = append(names, d.Name)
		}
	}
	for _, name := range status.Namespaces {
		switch is, err := state(name); {
		case err != nil:
			return nil, err
		case is == RecordedStill:
			names = append(names, name)
		case is == RecordedNot && slices.ContainsFunc(dropped, func(d v1alpha1.DroppedNamespace) bool {
			return d.Name == name
		}):
		case is == RecordedNot && len(dropped) >= maxDropped:
			names = append(names, name) // it is said once there is room
		case is == RecordedNot:
			fresh = append(fresh, name)
			dropped = append(dropped, v1alpha1.DroppedNamespace{
				Name: name, Since: metav1.NewTime(now.Truncate(time.Second)),
			})
		}
	}
	slices.SortFunc(dropped, func(a, b v1alpha1.DroppedNamespace) int { return cmp.Compare(a.Name, b.Name) })
	names = unique(names)
	status.Namespaces = names[:min(len(names), maxNamespaces)]
	status.Dropped = dropped[:min(len(dropped), maxDropped)]
	return fresh, nil
}

// NamesOf returns the names of dropped namespaces for a message.
func NamesOf(dropped []v1alpha1.DroppedNamespace) string {
	return named(dropped, func(d v1alpha1.DroppedNamespace) string { return d.Name })
}

func named(dropped []v1alpha1.DroppedNamespace, name func(v1alpha1.DroppedNamespace) string) string {
	var out []string
	for _, d := range dropped[:min(len(dropped), namedDropped)] {
		out = append(out, name(d))
	}
	text := strings.Join(out, ", ")
	if len(dropped) > namedDropped {
		text += " and others"
	}
	return text
}

// SayDropped returns a page that says at its top which namespaces are not recorded any more, and since when: their
// policies are not on it, and nobody would miss them.
func SayDropped(page []byte, dropped []v1alpha1.DroppedNamespace) []byte {
	if len(dropped) == 0 {
		return page
	}
	line, rest, _ := bytes.Cut(page[len(firstLine(page)):], []byte("\n\n"))
	said := "\n\n**Not recorded any more:** " + named(dropped, func(d v1alpha1.DroppedNamespace) string {
		return escape(d.Name) + " (since " + moment(d.Since.Time) + ")"
	}) + ".\n"
	return slices.Concat(firstLine(page), line, []byte(said+"\n"), rest)
}

// firstLine returns the title of a page, with the empty line below.
func firstLine(page []byte) []byte {
	_, after, found := bytes.Cut(page, []byte("\n\n"))
	if !found {
		return page
	}
	return page[:len(page)-len(after)]
}
