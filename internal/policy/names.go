package policy

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"
	"time"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// Length limits of the names below. A BackupSession's name is a label value of its Jobs and Snapshots. A CronJob's name
// gets 11 characters more in its Jobs (Kubernetes); the name of a mover's Job, cut like that, is a prefix of its pods'
// names that the API server never cuts further, which the admission policy relies on.
const (
	maxLabelValue = 63
	maxJobName    = 52
	maxObjectName = 253
	hashLength    = 8
)

// BackupSessionName is the name of the run of a session in a slot: <invoker>-<session>-<unix seconds of the slot>.
func BackupSessionName(invoker, session string, slot time.Time) string {
	tail := "-" + strconv.FormatInt(slot.Unix(), 10)
	return cut(invoker+"-"+session, maxLabelValue-len(tail), invoker, session) + tail
}

// QualifiedBackupSessionName is the name to take when BackupSessionName is in use by a run of another invoker or session.
func QualifiedBackupSessionName(kind, namespace, invoker, session string, slot time.Time) string {
	tail := "-" + hash(kind, namespace, invoker, session) + "-" + strconv.FormatInt(slot.Unix(), 10)
	return trim(invoker+"-"+session, maxLabelValue-len(tail)) + tail
}

// TriggeredSessionName is the name of the run of a session that somebody asked for with words of his own: the same words
// give the same name.
func TriggeredSessionName(invoker, session string, words ...string) string {
	tail := "-" + hash(words...)
	return trim(invoker+"-"+session, maxLabelValue-len(tail)) + tail
}

// RetryName is the name of the run that tries again what failed of another one: <backupsession>-r1, then -r2 and so on.
func RetryName(of string) string {
	base, number := of, 1
	if at := strings.LastIndex(of, "-r"); at > 0 {
		if n, err := strconv.Atoi(of[at+2:]); err == nil && n > 0 && n < maxRetries {
			base, number = of[:at], n+1
		}
	}
	tail := "-r" + strconv.Itoa(number)
	return cut(base, maxLabelValue-len(tail), base) + tail
}

// maxRetries is how often a run is tried again at most, and so the highest number at the end of a name.
const maxRetries = 100

// SnapshotName is the name of the Snapshot that a run makes in a repository: <repository>-<backupsession>.
func SnapshotName(repository, backupSession string) string {
	return cut(repository+"-"+backupSession, maxObjectName, repository, backupSession)
}

// VolumeSnapshotName is the name of the VolumeSnapshot that a run makes of a claim: <claim>-<unix seconds of the run's creation>.
func VolumeSnapshotName(claim string, created time.Time) string {
	tail := "-" + strconv.FormatInt(created.Unix(), 10)
	return cut(claim, maxObjectName-len(tail), claim) + tail
}

// QualifiedVolumeSnapshotName is the name to take when VolumeSnapshotName is in use by another Snapshot, namespace included.
func QualifiedVolumeSnapshotName(claim string, created time.Time, namespace, snapshot string) string {
	tail := "-" + hash(namespace, snapshot) + "-" + strconv.FormatInt(created.Unix(), 10)
	return cut(claim, maxObjectName-len(tail), claim) + tail
}

// CopyName is the name of the temporary claim, and of the VolumeSnapshot, that a run makes of a claim. uid is that of the
// BackupSession: a namesake that was deleted may have left some.
func CopyName(uid, claim string) string {
	tail := "-" + hash(uid, claim)
	return trim("copy-"+claim, maxLabelValue-len(tail)) + tail
}

// ChildName is the name of the BackupConfiguration that a batch makes for a target: <batch>-<target>. It is short enough
// to be a label value.
func ChildName(batch, target string) string {
	return cut(batch+"-"+target, maxLabelValue, batch, target)
}

// RestoreSessionName is the name of the RestoreSession that a RestoreBatch makes for a target: <restorebatch>-<target>.
func RestoreSessionName(batch, target string) string {
	return cut(batch+"-"+target, maxLabelValue, batch, target)
}

// FoundTargetName is the name of the target for an object that the selector of a target finds: <target>-<kind>-<object>, in
// lower case. It is a DNS label: what does not fit, or has a dot, gets a hash.
func FoundTargetName(target, kind, object string) string {
	kind = strings.ToLower(kind)
	name := target + "-" + kind + "-" + object
	plain := strings.ReplaceAll(name, ".", "-")
	if plain == name {
		return cut(name, maxLabelValue, target, kind, object)
	}
	tail := "-" + hash(target, kind, object)
	return trim(plain, maxLabelValue-len(tail)) + tail
}

// templateName is the name of the Repository that a template makes for a target: <template>-<target>.
func templateName(template, target string) string {
	return cut(template+"-"+target, maxObjectName, template, target)
}

// CronJobName is the name of the CronJob that triggers a session: trigger-<invoker>-<session>, and for a BackupBatch
// trigger-backupbatch-<invoker>-<session>. Two sessions can share a name ("a" of "b-c" and "a-b" of "c"): whoever makes the
// CronJob looks whose it is.
func CronJobName(kind, invoker, session string) string {
	if kind == v1alpha1.BackupConfigurationKind {
		return cut("trigger-"+invoker+"-"+session, maxJobName, kind, invoker, session)
	}
	return cut("trigger-"+strings.ToLower(kind)+"-"+invoker+"-"+session, maxJobName, kind, invoker, session)
}

// JobName joins prefix and parts with dashes and always ends in a hash of the parts, so that two lists of parts never
// share a name. It has at most 52 characters.
func JobName(prefix string, parts ...string) string {
	tail := "-" + hash(parts...)
	return trim(prefix+"-"+strings.Join(parts, "-"), maxJobName-len(tail)) + tail
}

// LabelValue is s where it fits into a label value, else its beginning and a hash.
func LabelValue(s string) string { return cut(s, maxLabelValue, s) }

// StorageLabelValue identifies a BackupStorage in a label: "<namespace>.<name>" where it fits. A namespace has no dot.
func StorageLabelValue(namespace, name string) string { return LabelValue(namespace + "." + name) }

// cut returns name where it has at most limit characters, else its beginning and a hash of parts.
func cut(name string, limit int, parts ...string) string {
	if len(name) <= limit {
		return name
	}
	tail := "-" + hash(parts...)
	return trim(name, limit-len(tail)) + tail
}

// trim cuts name to limit characters that end neither in a dash nor in a dot, as names must. Bytes are characters here:
// names are ASCII.
func trim(name string, limit int) string {
	if len(name) > limit {
		name = name[:limit]
	}
	return strings.TrimRight(name, "-._")
}

// hash separates parts by a byte that no name holds, so that ("a", "b-c") and ("a-b", "c") differ.
func hash(parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return hex.EncodeToString(sum[:])[:hashLength]
}
