package ledger

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/schedule"
)

// Record is one file of the branch, with the object that the message of its commit names.
type Record struct {
	// Path is the path of the file below the cluster's folder.
	Path string `json:"path"`
	// Content is the content of the file: a YAML manifest of one or more documents.
	Content string `json:"content"`
	// Object is the object that the record describes.
	Object Object `json:"object"`
	// File is 0 for the only or the first file of a record, 2 for the second, and so on. Only a record with more than
	// about a megabyte has more than one.
	File int `json:"file,omitempty"`
}

// Count returns the number of records that have these files.
func Count(files []Record) int {
	n := 0
	for _, f := range files {
		if f.File == 0 {
			n++
		}
	}
	return n
}

// Object is an object that ended, as the message of a commit shows it.
type Object struct {
	Kind      string    `json:"kind"`
	Namespace string    `json:"namespace"`
	Name      string    `json:"name"`
	UID       types.UID `json:"uid"`
	// Phase is the terminal phase. Reason is its reason, or why a success lacks something, such as Partial.
	Phase  string `json:"phase"`
	Reason string `json:"reason,omitempty"`
	// Revision is the policy revision that was in force, in Flux's form. It is empty if the policy was applied by
	// hand.
	Revision string `json:"revision,omitempty"`
}

// BackupRecord returns the record of a BackupSession that ended and of its Snapshots, in any order: one file, or more
// if it is large. cluster is the name of the cluster's folder. Only fields that this package lists get into a record.
func BackupRecord(cluster string, session *v1alpha1.BackupSession, snapshots []v1alpha1.Snapshot) ([]Record, error) {
	docs := make([]document, 0, 1+len(snapshots))
	docs = append(docs, backupDocument(cluster, session, snapshots))
	for _, s := range sortedSnapshots(snapshots) {
		docs = append(docs, snapshotDocument(cluster, s))
	}
	object := Object{
		Kind: v1alpha1.BackupSessionKind, Namespace: session.Namespace, Name: session.Name, UID: session.UID,
		Phase: string(session.Status.Phase), Reason: session.ShownReason(),
	}
	if r := session.Status.Resolved; r != nil {
		object.Revision = r.Policy.Revision
	}
	return newRecord(BackupPath(session), object, docs)
}

// BackupPath returns the path of the only or the first file of the record of a BackupSession that ended.
func BackupPath(session *v1alpha1.BackupSession) string {
	ended := endOf(session.Status.CompletionTime, session.CreationTimestamp)
	slot := ended
	if session.Spec.ScheduledTime != nil {
		slot = session.Spec.ScheduledTime.Time
	}
	folder := folderOf(session.Spec.Invoker.Kind, session.Spec.Invoker.Name, ended)
	if r := session.Status.Resolved; r != nil && frequent(r.Schedule, slot) {
		folder += "/" + ended.UTC().Format("02")
	}
	return recordPath(folder, &session.ObjectMeta)
}

// RestoreRecord returns the record of a RestoreSession that ended.
func RestoreRecord(cluster string, session *v1alpha1.RestoreSession) ([]Record, error) {
	object := Object{
		Kind: v1alpha1.RestoreSessionKind, Namespace: session.Namespace, Name: session.Name, UID: session.UID,
		Phase: string(session.Status.Phase), Reason: session.ShownReason(),
	}
	if r := session.Status.Resolved; r != nil {
		object.Revision = r.Policy.Revision
	}
	docs := []document{restoreDocument(cluster, session)}
	return newRecord(RestorePath(session), object, docs)
}

// RestorePath returns the path of the only or the first file of the record of a RestoreSession that ended.
func RestorePath(session *v1alpha1.RestoreSession) string {
	ended := endOf(session.Status.CompletionTime, session.CreationTimestamp)
	return recordPath(folderOf(v1alpha1.RestoreSessionKind, session.Name, ended), &session.ObjectMeta)
}

// endOf returns when a run or restore ended. One that ended before it started can have no completion time.
func endOf(completion *metav1.Time, creation metav1.Time) time.Time {
	if completion != nil {
		return completion.Time
	}
	return creation.Time
}

// folderOf returns the folder below the namespace's: "backupbatch.shop/2026-07".
func folderOf(kind, name string, ended time.Time) string {
	folder := strings.ToLower(kind) + "." + name
	if len(folder) > maxFolder {
		sum := sha256.Sum256([]byte(name))
		folder = strings.TrimRight(folder[:maxFolder-9], "-.") + "-" + hex.EncodeToString(sum[:4])
	}
	return folder + "/" + ended.UTC().Format("2006-01")
}

// maxFolder is the length to which the folder of an invoker is cut. A name can be longer than the names of a file
// system.
const maxFolder = 200

// recordPath ends with the beginning of the UID, because a name can come back but a UID can't. The UID also
// distinguishes names that were cut.
func recordPath(folder string, o *metav1.ObjectMeta) string {
	name := o.Name
	if len(name) > maxName {
		name = strings.TrimRight(name[:maxName], "-.")
	}
	return RecordsDir + "/" + o.Namespace + "/" + folder + "/" + name + "-" + uid8(o.UID) + ".yaml"
}

// maxName is the length to which an object's name is cut, so that the name of the file has at most 255 bytes. One
// record that can't be written would keep all others from being pushed.
const maxName = 255 - len("-01234567.yaml")

func uid8(uid types.UID) string {
	s := string(uid)
	if len(s) > 8 {
		return s[:8]
	}
	return s
}

// perDay is the number of runs per day above which one folder per month would hold too many records: a run every 15
// minutes makes 2,976.
const perDay = 24 * 4

// frequent reports whether a schedule has more than perDay slots in the day after slot. It depends only on what the
// run froze at its start, so it never changes for a run.
func frequent(line string, slot time.Time) bool {
	if line == "" {
		return false
	}
	next, end := slot, slot.Add(24*time.Hour)
	for range perDay + 1 {
		var err error
		if next, err = schedule.Next(line, next); err != nil || next.IsZero() || next.After(end) {
			return false
		}
	}
	return true
}
