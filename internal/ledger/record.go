package ledger

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/schedule"
)

// Record is one file of the branch, with what the message of its commit says of it.
type Record struct {
	// Path of the file below the cluster's folder.
	Path string `json:"path"`
	// Content of the file: a YAML manifest of one or more documents.
	Content string `json:"content"`
	// Object that the record is of.
	Object Object `json:"object"`
}

// Object is what ended, as a commit's message shows it.
type Object struct {
	Kind      string    `json:"kind"`
	Namespace string    `json:"namespace"`
	Name      string    `json:"name"`
	UID       types.UID `json:"uid"`
	// Phase is the terminal phase, Reason its reason.
	Phase  string `json:"phase"`
	Reason string `json:"reason,omitempty"`
	// Revision of the policy that was in force, in Flux's form. Empty when it was applied by hand.
	Revision string `json:"revision,omitempty"`
}

// BackupRecord is the record of a BackupSession that ended and of its Snapshots, which may be in any order. Cluster is
// the name of the cluster's folder. What is not listed in this package as a field of a record does not get into one.
func BackupRecord(cluster string, session *v1alpha1.BackupSession, snapshots []v1alpha1.Snapshot) (Record, error) {
	docs := make([]document, 0, 1+len(snapshots))
	docs = append(docs, backupDocument(cluster, session, snapshots))
	for _, s := range sortedSnapshots(snapshots) {
		docs = append(docs, snapshotDocument(cluster, s))
	}
	content, err := manifest(docs)
	if err != nil {
		return Record{}, fmt.Errorf("write record of BackupSession %s/%s: %w", session.Namespace, session.Name, err)
	}
	object := Object{
		Kind: v1alpha1.BackupSessionKind, Namespace: session.Namespace, Name: session.Name, UID: session.UID,
		Phase: string(session.Status.Phase), Reason: session.Status.Reason,
	}
	line := ""
	if r := session.Status.Resolved; r != nil {
		object.Revision, line = r.Policy.Revision, r.Schedule
	}
	ended := endOf(session.Status.CompletionTime, session.CreationTimestamp)
	slot := ended
	if session.Spec.ScheduledTime != nil {
		slot = session.Spec.ScheduledTime.Time
	}
	folder := folderOf(session.Spec.Invoker.Kind, session.Spec.Invoker.Name, ended)
	if frequent(line, slot) {
		folder += "/" + ended.UTC().Format("02")
	}
	return Record{Path: recordPath(folder, &session.ObjectMeta), Content: content, Object: object}, nil
}

// RestoreRecord is the record of a RestoreSession that ended.
func RestoreRecord(cluster string, session *v1alpha1.RestoreSession) (Record, error) {
	content, err := manifest([]document{restoreDocument(cluster, session)})
	if err != nil {
		return Record{}, fmt.Errorf("write record of RestoreSession %s/%s: %w", session.Namespace, session.Name, err)
	}
	object := Object{
		Kind: v1alpha1.RestoreSessionKind, Namespace: session.Namespace, Name: session.Name, UID: session.UID,
		Phase: string(session.Status.Phase), Reason: session.Status.Reason,
	}
	if r := session.Status.Resolved; r != nil {
		object.Revision = r.Policy.Revision
	}
	ended := endOf(session.Status.CompletionTime, session.CreationTimestamp)
	folder := folderOf(v1alpha1.RestoreSessionKind, session.Name, ended)
	return Record{Path: recordPath(folder, &session.ObjectMeta), Content: content, Object: object}, nil
}

// endOf is when a session ended. One that ended before it started may have no completion time.
func endOf(completion *metav1.Time, creation metav1.Time) time.Time {
	if completion != nil {
		return completion.Time
	}
	return creation.Time
}

// folderOf is the folder below the namespace's: "backupbatch.shop/2026-07".
func folderOf(kind, name string, ended time.Time) string {
	folder := strings.ToLower(kind) + "." + name
	if len(folder) > maxFolder {
		sum := sha256.Sum256([]byte(name))
		folder = strings.TrimRight(folder[:maxFolder-9], "-.") + "-" + hex.EncodeToString(sum[:4])
	}
	return folder + "/" + ended.UTC().Format("2006-01")
}

// maxFolder is the length that the folder of an invoker is cut to: a name may be longer than a file system's names.
const maxFolder = 200

// recordPath ends in the beginning of the UID: a name can come back, a UID cannot. That also tells names apart that were
// cut.
func recordPath(folder string, o *metav1.ObjectMeta) string {
	name := o.Name
	if len(name) > maxName {
		name = strings.TrimRight(name[:maxName], "-.")
	}
	return RecordsDir + "/" + o.Namespace + "/" + folder + "/" + name + "-" + uid8(o.UID) + ".yaml"
}

// maxName is the length that an object's name is cut to, so that the file's has at most 255 bytes: one record that cannot
// be written would keep all others from being pushed.
const maxName = 255 - len("-01234567.yaml")

func uid8(uid types.UID) string {
	s := string(uid)
	if len(s) > 8 {
		return s[:8]
	}
	return s
}

// perDay is the number of runs a day from which on a month of records would be more than a folder should hold: one
// every 15 minutes makes 2,976.
const perDay = 24 * 4

// frequent says whether a schedule has more than perDay slots in the day that follows slot. It is decided from what
// the session froze when it started, so that it never changes for a run.
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
