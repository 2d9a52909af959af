package restore

import (
	"fmt"
	"strings"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/run"
)

// lostCounts are what a successful restore left out.
type lostCounts struct{ owners, attributes, devices, links, kept int64 }

func (l *lostCounts) add(c *v1alpha1.RestoredComponent) {
	l.owners += c.OwnersNotRestored
	l.attributes += c.AttributesNotRestored
	l.devices += c.DevicesNotRestored
	l.links += c.LinksNotRestored
	l.kept += c.ExtraKept
}

// notRestored explains what a successful restore left out: because it did not run as root, because names that seemed to
// be one file were not, or because the backup may have left out what deleteExtraFiles would have deleted.
func (r *runner) notRestored(lost lostCounts) string {
	var missing, messages []string
	for _, of := range []struct {
		what  string
		count int64
	}{{"owners", lost.owners}, {"other attributes", lost.attributes}, {"devices", lost.devices}} {
		if of.count > 0 {
			missing = append(missing, fmt.Sprintf("%s (entries: %d)", of.what, of.count))
		}
	}
	if len(missing) > 0 {
		how := "restore as root"
		if run.RestoredBySidecars(r.Session) {
			how = "restore with executor Job and as root"
		}
		messages = append(messages, fmt.Sprintf("all data is restored, except %s: to restore these too, %s "+
			"(jobTemplate runAsUser 0, in a Namespace with the annotation %s); devices and set-id bits also need the "+
			"parameters devices and setID of the task", strings.Join(missing, ", "), how,
			v1alpha1.AnnotationPrivilegedMovers))
	}
	if lost.links > 0 {
		messages = append(messages, fmt.Sprintf("hard links are files of their own (entries: %d), because their names "+
			"hold different files in the Snapshot or an existing file was kept: if a program needs the links, make "+
			"them again", lost.links))
	}
	if lost.kept > 0 {
		messages = append(messages, fmt.Sprintf("deleteExtraFiles kept what the backup may have left out, and "+
			"subvolumes (entries: %d): delete by hand what is not needed", lost.kept))
	}
	return strings.Join(messages, "; ")
}
