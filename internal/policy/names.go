package policy

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// Length limits of names. The name of a BackupSession becomes a label value of its Jobs and Snapshots. Kubernetes
// appends 11 characters to a CronJob's name in its Jobs. The name of a mover's Job has the same limit, so that the API
// server never cuts it in the names of its pods: the admission policy relies on the whole name as their prefix.
const (
	maxLabelValue = 63
	maxJobName    = 52
	maxObjectName = 253
	hashLength    = 8
)

// BackupSessionName returns the name of the run of a session in a slot: <invoker>-<session>-<unix seconds of the slot>.
func BackupSessionName(invoker, session string, slot time.Time) string {
	tail := "-" + strconv.FormatInt(slot.Unix(), 10)
	return shortName(invoker+"-"+session, maxLabelValue-len(tail), invoker, session) + tail
}

// QualifiedBackupSessionName returns the name to use if a run of another invoker or session has the BackupSessionName.
func QualifiedBackupSessionName(kind, namespace, invoker, session string, slot time.Time) string {
	tail := "-" + hash(kind, namespace, invoker, session) + "-" + strconv.FormatInt(slot.Unix(), 10)
	return cutName(invoker+"-"+session, maxLabelValue-len(tail)) + tail
}

// SlotOf returns the slot in the name of a BackupSession, of one that retries it, or of their Snapshots. ok is false if
// there is none.
func SlotOf(name string) (slot time.Time, ok bool) {
	if at := strings.LastIndex(name, "-r"); at > 0 {
		if _, err := strconv.Atoi(name[at+2:]); err == nil {
			name = name[:at]
		}
	}
	seconds, err := strconv.ParseInt(name[strings.LastIndexByte(name, '-')+1:], 10, 64)
	return time.Unix(seconds, 0), err == nil && seconds > 0
}

// TriggeredSessionName returns the name of a run that somebody asked for. Equal words give equal names.
func TriggeredSessionName(invoker, session string, words ...string) string {
	tail := "-" + hash(words...)
	return cutName(invoker+"-"+session, maxLabelValue-len(tail)) + tail
}

// RetryName returns the name of the run that retries the failed part of another run: <backupsession>-r1, then -r2 and
// so on.
func RetryName(of string) string {
	base, number := of, 1
	if at := strings.LastIndex(of, "-r"); at > 0 {
		if n, err := strconv.Atoi(of[at+2:]); err == nil && n > 0 && n < maxRetries {
			base, number = of[:at], n+1
		}
	}
	tail := "-r" + strconv.Itoa(number)
	return shortName(base, maxLabelValue-len(tail), base) + tail
}

// maxRetries is the largest number of retries, and so the largest number at the end of a name.
const maxRetries = 100

// SnapshotName returns the name of the Snapshot that a run makes in a repository: <repository>-<backupsession>.
func SnapshotName(repository, backupSession string) string {
	return shortName(repository+"-"+backupSession, maxObjectName, repository, backupSession)
}

// RebuiltSnapshotName returns the name of a Snapshot that a scan found in the Repository with this UID, if its own name
// is taken: <snapshot>-<hash>.
func RebuiltSnapshotName(snapshot, repositoryUID string) string {
	tail := "-" + hash(snapshot, repositoryUID)
	return cutName(snapshot, maxObjectName-len(tail)) + tail
}

// QualifiedSnapshotName returns the name to use if a scan has made a Snapshot with the SnapshotName of a run: anybody
// who can write to the backend chooses what a scan finds. The hash covers the UID of the run, which nobody knows
// before.
func QualifiedSnapshotName(repository, backupSession string, uid types.UID) string {
	tail := "-" + hash(repository, backupSession, string(uid))
	return cutName(repository+"-"+backupSession, maxObjectName-len(tail)) + tail
}

// VolumeSnapshotName returns the name of the VolumeSnapshot that a run makes of a claim: <claim>-<unix seconds of the
// run's creation>.
func VolumeSnapshotName(claim string, created time.Time) string {
	tail := "-" + strconv.FormatInt(created.Unix(), 10)
	return shortName(claim, maxObjectName-len(tail), claim) + tail
}

// QualifiedVolumeSnapshotName returns the name to use if another Snapshot has the VolumeSnapshotName. The hash covers
// the namespace too.
func QualifiedVolumeSnapshotName(claim string, created time.Time, namespace, snapshot string) string {
	tail := "-" + hash(namespace, snapshot) + "-" + strconv.FormatInt(created.Unix(), 10)
	return shortName(claim, maxObjectName-len(tail), claim) + tail
}

// CopyName returns the name of the temporary claim, and of the VolumeSnapshot, that a run makes of a claim for a
// target. Each target has a copy of its own, because its hooks say of which moment. uid is the UID of the
// BackupSession: a deleted BackupSession of the same name can have left copies behind.
func CopyName(uid, target, claim string) string {
	tail := "-" + hash(uid, target, claim)
	return cutName("copy-"+claim, maxLabelValue-len(tail)) + tail
}

// ChildName returns the name of the BackupConfiguration that a batch makes for a target: <batch>-<target>. It is short
// enough for a label value.
func ChildName(batch, target string) string {
	return shortName(batch+"-"+target, maxLabelValue, batch, target)
}

// RestoreSessionName returns the name of the RestoreSession that a RestoreBatch makes for a target:
// <restorebatch>-<target>.
func RestoreSessionName(batch, target string) string {
	return shortName(batch+"-"+target, maxLabelValue, batch, target)
}

// FoundTargetName returns the name of the target for an object that the selector of a target finds:
// <target>-<kind>-<object>, in lower case. It is a DNS label: a name that is too long or has a dot gets a hash.
func FoundTargetName(target, kind, object string) string {
	kind = strings.ToLower(kind)
	name := target + "-" + kind + "-" + object
	plain := strings.ReplaceAll(name, ".", "-")
	if plain == name {
		return shortName(name, maxLabelValue, target, kind, object)
	}
	tail := "-" + hash(target, kind, object)
	return cutName(plain, maxLabelValue-len(tail)) + tail
}

// templateName returns the name of the Repository that a template makes for a target: <template>-<target>.
func templateName(template, target string) string {
	return shortName(template+"-"+target, maxObjectName, template, target)
}

// CronJobName returns the name of the CronJob that triggers a session: trigger-<invoker>-<session>, and for a
// BackupBatch trigger-backupbatch-<invoker>-<session>. Two sessions can share a name ("a" of "b-c" and "a-b" of "c"),
// so whoever creates the CronJob must check its owner.
func CronJobName(kind, invoker, session string) string {
	if kind == v1alpha1.BackupConfigurationKind {
		return shortName("trigger-"+invoker+"-"+session, maxJobName, kind, invoker, session)
	}
	return shortName("trigger-"+strings.ToLower(kind)+"-"+invoker+"-"+session, maxJobName, kind, invoker, session)
}

// JobName joins prefix and parts with dashes and appends a hash of the parts, so that different parts give different
// names. The name has at most 52 characters.
func JobName(prefix string, parts ...string) string {
	tail := "-" + hash(parts...)
	return cutName(prefix+"-"+strings.Join(parts, "-"), maxJobName-len(tail)) + tail
}

// LabelValue returns s if it fits into a label value, else its beginning and a hash.
func LabelValue(s string) string { return shortName(s, maxLabelValue, s) }

// StorageLabelValue identifies a BackupStorage in a label: "<namespace>.<name>" if it fits. A namespace has no dot.
func StorageLabelValue(namespace, name string) string { return LabelValue(namespace + "." + name) }

// shortName returns name if it has at most limit characters, else its beginning and a hash of parts.
func shortName(name string, limit int, parts ...string) string {
	if len(name) <= limit {
		return name
	}
	tail := "-" + hash(parts...)
	return cutName(name, limit-len(tail)) + tail
}

// cutName cuts name to at most limit characters and removes dashes, dots and underscores from its end, because names
// must not end in them. Names are ASCII, so bytes are characters.
func cutName(name string, limit int) string {
	if len(name) > limit {
		name = name[:limit]
	}
	return strings.TrimRight(name, "-._")
}

// hash separates the parts by a byte that no name contains, so that ("a", "b-c") and ("a-b", "c") differ.
func hash(parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return hex.EncodeToString(sum[:])[:hashLength]
}

// ImportPrefix is the prefix of all names that ImportName returns.
const ImportPrefix = "cairn-import-"

// ImportName returns the name of the VolumeSnapshot, and of its VolumeSnapshotContent, that a RestoreSession makes for
// the time of the restore from a VolumeSnapshot of another namespace. It depends on both UIDs, because contents have no
// namespace.
func ImportName(restore, snapshot types.UID) string {
	sum := sha256.Sum256([]byte(string(restore) + "\x00" + string(snapshot)))
	return ImportPrefix + hex.EncodeToString(sum[:16])
}
