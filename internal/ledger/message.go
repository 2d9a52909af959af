package ledger

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/text"
)

// Trailers of our commits.
const (
	trailerCluster  = "Cairn-Cluster"
	trailerRevision = "Cairn-Policy-Revision"
)

// Bounds of a message. maxSubject is the length of a subject that Git's tools show. maxObjects (lines) and maxLines
// (bytes) bound the lines below it, and maxRevisions the trailers: a message longer than 64 KiB would lose its end,
// which identifies it as ours.
const (
	maxSubject   = 72
	maxObjects   = 200
	maxLines     = 32 << 10
	maxRevisions = 100
)

// CommitMessage returns the message of a commit that adds the records of these objects: one line that sums up what
// happened, one line per object, and as trailers the cluster and each policy revision that was in force. Without
// objects it is the message of a commit that only updates the page.
func CommitMessage(cluster string, objects []Object) string {
	objects = slices.Clone(objects)
	slices.SortFunc(objects, func(a, b Object) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Kind, b.Kind),
			cmp.Compare(a.Name, b.Name), cmp.Compare(a.UID, b.UID))
	})
	objects = slices.CompactFunc(objects, func(a, b Object) bool { // a record can have several files
		return a.UID != "" && a.Kind == b.Kind && a.UID == b.UID
	})
	var out strings.Builder
	out.WriteString(subject(objects) + "\n\n")
	for i, o := range objects {
		line := objectLine(o) + "\n"
		if i == maxObjects || out.Len()+len(line) > maxLines {
			fmt.Fprintf(&out, "and %d more\n", len(objects)-i)
			break
		}
		out.WriteString(line)
	}
	if len(objects) > 0 {
		out.WriteString("\n")
	}
	fmt.Fprintf(&out, "%s: %s\n", trailerCluster, oneLine(cluster))
	for _, r := range revisions(objects) {
		fmt.Fprintf(&out, "%s: %s\n", trailerRevision, r)
	}
	return out.String()
}

func objectLine(o Object) string {
	line := o.Kind + " " + o.Namespace + "/" + o.Name + " " + o.Phase
	if o.Reason != "" && o.Reason != o.Phase {
		line += " (" + o.Reason + ")"
	}
	return oneLine(line)
}

func revisions(objects []Object) []string {
	var out []string
	for _, o := range objects {
		if r := oneLine(o.Revision); r != "" {
			out = append(out, r)
		}
	}
	slices.Sort(out)
	out = slices.Compact(out)
	return out[:min(len(out), maxRevisions)]
}

// phaseWords is the order of the counts in a subject.
var phaseWords = []struct{ phase, word string }{
	{string(v1alpha1.BackupSessionSucceeded), "succeeded"},
	{string(v1alpha1.BackupSessionFailed), "failed"},
	{string(v1alpha1.RestoreSessionInvalid), "invalid"},
	{string(v1alpha1.BackupSessionSkipped), "skipped"},
	{phaseRemoved, "removed"},
	{phaseUnknown, "unknown"},
}

// subject names as many namespaces as fit: "shop, blog and 3 more: 5 succeeded, 1 failed".
func subject(objects []Object) string {
	if len(objects) == 0 {
		return "bring " + PageFile + " up to date"
	}
	var namespaces []string
	count := map[string]int{}
	for _, o := range objects {
		namespaces = append(namespaces, oneLine(o.Namespace))
		count[o.Phase]++
	}
	namespaces = slices.Compact(namespaces)
	var counts []string
	for _, w := range phaseWords {
		if n := count[w.phase]; n > 0 {
			counts = append(counts, fmt.Sprintf("%d %s", n, w.word))
		}
	}
	what := ": " + strings.Join(counts, ", ")
	for n := len(namespaces); n > 0; n-- {
		who := strings.Join(namespaces[:n], ", ")
		if n < len(namespaces) {
			who += fmt.Sprintf(" and %d more", len(namespaces)-n)
		}
		if len(who)+len(what) <= maxSubject {
			return who + what
		}
	}
	return text.Quantity(len(objects), "result") + " in " + text.Quantity(len(namespaces), "namespace")
}

// oneLine keeps a text from starting a line of its own, which could be a trailer.
func oneLine(s string) string {
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.IsSpace(r) {
			return ' '
		}
		return r
	}, s))
}
