package backup

import (
	"fmt"
	"slices"
	"time"

	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v8/apis/volumesnapshot/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/run"
	"github.com/cairn-backup/cairn/internal/task/observe"
	"github.com/cairn-backup/cairn/internal/volumesnapshot"
	"github.com/cairn-backup/cairn/internal/workload"
)

const (
	// SnapshotLimit is how long a run waits until a VolumeSnapshot is taken.
	SnapshotLimit = 10 * time.Minute
	// UploadLimit is how long a run without a deadline waits in all for a VolumeSnapshot that is taken: some storage
	// systems can't use it before they have uploaded it. Where hooks may have frozen something, it is ClaimLimit.
	UploadLimit = 24 * time.Hour
	// ClaimLimit is how long a run waits for a temporary volume. Some drivers copy all data.
	ClaimLimit = time.Hour
	// annotationSelectedNode is how the scheduler tells the storage system to make the volume of a claim.
	annotationSelectedNode = "volume.kubernetes.io/selected-node"
	// copyPoll is how often a run looks at a copy that is being made. No watch reports its progress. For a
	// VolumeSnapshot that takes long it looks less often, at least every slowPoll.
	copyPoll, slowPoll = 2 * time.Second, time.Minute
)

// Copy is an observed temporary volume of a run.
type Copy struct {
	// Snapshot is the VolumeSnapshot that the volume is made from, nil where there is none.
	Snapshot *snapshotv1.VolumeSnapshot
	// Claim is the claim of the volume, nil where there is none.
	Claim *corev1.PersistentVolumeClaim
	// Made is when the volume was made, zero where there is none.
	Made time.Time
	// Trouble is what the driver says keeps the volume from being made, empty where it says nothing.
	Trouble string
	// Wrong explains why the volume is not a copy of the original, empty where it is.
	Wrong string
}

// Going reports whether every existing part of the copy is being deleted.
func (c Copy) Going() bool {
	return (c.Snapshot == nil || c.Snapshot.DeletionTimestamp != nil) &&
		(c.Claim == nil || c.Claim.DeletionTimestamp != nil)
}

// underway reports whether the storage system makes the volume for a pod that has waited for it to get its node.
func (c Copy) underway() bool {
	return c.Claim != nil && c.Claim.DeletionTimestamp == nil && c.Claim.Status.Phase == corev1.ClaimPending &&
		c.Claim.Annotations[annotationSelectedNode] != ""
}

// CopiedAt returns when the copies that a host reads were asked for, by the claim of the target's volume. No copy is
// older. Without the VolumeSnapshot of a copy nothing is known but that the run made it.
func CopiedAt(in Input, t *v1alpha1.ResolvedTarget, h *v1alpha1.ResolvedHost) map[string]metav1.Time {
	var out map[string]metav1.Time
	for _, v := range h.Volumes {
		c := t.CopyOf(v.ClaimName)
		if c == nil {
			continue
		}
		at, have := in.Session.CreationTimestamp, in.Copies[c.Name]
		switch {
		case have.Snapshot != nil:
			at = have.Snapshot.CreationTimestamp
		case have.Claim != nil && c.VolumeSnapshotClassName == "":
			at = have.Claim.CreationTimestamp
		}
		if out == nil {
			out = map[string]metav1.Time{}
		}
		out[v.ClaimName] = at
	}
	return out
}

// CopyRequest is a part of a copy that must be made.
type CopyRequest struct {
	Target *v1alpha1.ResolvedTarget
	Copy   *v1alpha1.ResolvedCopy
	// Snapshot asks for the VolumeSnapshot. Otherwise the claim is made.
	Snapshot bool
	// Size is the size of the claim.
	Size resource.Quantity
}

// copied reports whether the copies that a host reads exist, and asks for the missing ones. A copy that can't be made
// fails the host.
func (t *targetRun) copied(h *host) bool {
	ready := true
	var poll time.Duration
	for _, v := range h.Host.Volumes {
		c := t.frozen.CopyOf(v.ClaimName)
		if c == nil {
			continue
		}
		done, failure := t.copy(c)
		if failure != nil {
			t.run.giveUp(h, failure.Reason, failure.Message)
			return false
		}
		if !done {
			ready, poll = false, run.EarlierOf(poll, t.copyPoll(c))
		}
	}
	if !ready {
		t.run.busy++
		t.run.d.After = run.EarlierOf(t.run.d.After, poll)
	}
	return ready
}

// copyPoll returns when to look again at a copy that is being made.
func (t *targetRun) copyPoll(c *v1alpha1.ResolvedCopy) time.Duration {
	have := t.run.Copies[c.Name]
	if have.Snapshot == nil || have.Claim != nil || volumesnapshot.Ready(have.Snapshot) {
		return copyPoll
	}
	return min(max(t.waited(have.Snapshot.CreationTimestamp.Time)/30, copyPoll), slowPoll)
}

// copy reports whether a copy is ready, or why it never will be, and asks for its missing part.
func (t *targetRun) copy(c *v1alpha1.ResolvedCopy) (bool, *v1alpha1.ResolvedError) {
	r := t.run
	have, there := r.Copies[c.Name]
	switch {
	case there && have.Going(), have.Claim != nil && have.Claim.DeletionTimestamp != nil:
		return false, workload.Fail(v1alpha1.ReasonCopyFailed, "%s was deleted before it was read",
			workload.DescribeCopy(c))
	case have.Claim != nil:
		return t.claimed(c, have)
	case c.VolumeSnapshotClassName == "":
		r.make(CopyRequest{Target: t.frozen, Copy: c, Size: c.Size})
	case have.Snapshot == nil:
		r.make(CopyRequest{Target: t.frozen, Copy: c, Snapshot: true})
	case volumesnapshot.Ready(have.Snapshot):
		request := CopyRequest{Target: t.frozen, Copy: c, Size: c.Size}
		if least := have.Snapshot.Status.RestoreSize; least != nil && least.Cmp(c.Size) > 0 {
			request.Size = *least
		}
		r.make(request)
	default:
		return false, t.snapshotting(c, have.Snapshot)
	}
	return false, nil
}

// waited returns for how long the target has waited for a part of a copy since it was created. If that lies in the
// future, a clock was wrong, and the time since the start of the target counts: both come from the manager's clock.
func (t *targetRun) waited(created time.Time) time.Duration {
	return run.Waited(created, t.status.StartTime, t.run.Now)
}

// snapshotting explains why the run no longer waits for a VolumeSnapshot that is not ready. Nil means that it still
// waits, which the status of the target says after a minute.
func (t *targetRun) snapshotting(c *v1alpha1.ResolvedCopy, s *snapshotv1.VolumeSnapshot) *v1alpha1.ResolvedError {
	message, since := volumesnapshot.Failure(s)
	waited, limit, grace := t.waited(s.CreationTimestamp.Time), SnapshotLimit, volumesnapshot.ErrorGrace
	state := "taken"
	if at := volumesnapshot.TakenAt(s); !at.IsZero() {
		// The snapshotter keeps an error until the VolumeSnapshot is ready, also if the next try was a success.
		if !since.IsZero() && !since.After(at) {
			message = ""
		}
		limit, grace, state = t.uploadLimit(), ClaimLimit, "ready"
	}
	if since.IsZero() {
		since = s.CreationTimestamp.Time
	}
	late := limit > 0 && waited >= limit
	switch {
	case message != "" && (late || t.waited(since) >= grace):
		return workload.Fail(v1alpha1.ReasonVolumeSnapshotFailed, "the VolumeSnapshot for %s failed: %s",
			workload.DescribeCopy(c),
			message)
	case late:
		longer := ""
		if limit == ClaimLimit {
			longer = ". What a hook has frozen waits no longer than that without a backupTimeout: set one that is " +
				"long enough for the upload"
		}
		return workload.Fail(v1alpha1.ReasonVolumeSnapshotNotReady,
			"the VolumeSnapshot for %s was not %s within %s, and its driver does not say why%s",
			workload.DescribeCopy(c), state, limit, longer)
	case waited >= time.Minute && t.waits.Reason == "":
		t.waits.Reason = v1alpha1.ReasonVolumeSnapshotNotReady
		t.waits.Message = waitMessage(c, s)
	}
	return nil
}

// uploadLimit returns for how long the target waits in all for a VolumeSnapshot that is taken, 0 if its deadline says
// that: who sets one says how long a freeze may last. Without one, it waits less long where somebody may wait for its
// postBackup hooks.
func (t *targetRun) uploadLimit() time.Duration {
	switch {
	case !DeadlineOf(t.run.Session, t.frozen.Name).IsZero():
		return 0
	case t.mayBeFrozen():
		return ClaimLimit
	default:
		return UploadLimit
	}
}

// claimed reports whether movers can use an existing claim. A claim that binds to its first consumer can be used at
// once.
func (t *targetRun) claimed(c *v1alpha1.ResolvedCopy, have Copy) (bool, *v1alpha1.ResolvedError) {
	switch {
	case have.Claim.Status.Phase == corev1.ClaimLost:
		return false, workload.Fail(v1alpha1.ReasonCopyFailed, "the volume of %s was lost", workload.DescribeCopy(c))
	case have.Claim.Status.Phase == corev1.ClaimBound || !c.Immediate:
		return true, nil
	case have.Trouble != "":
		return false, workload.Fail(v1alpha1.ReasonCopyFailed, "%s", notMadeMessage(c, have))
	case t.waited(have.Claim.CreationTimestamp.Time) >= ClaimLimit:
		return false, workload.Fail(v1alpha1.ReasonCopyFailed, "%s", notMadeInTime(c))
	default:
		return false, nil
	}
}

func notMadeMessage(c *v1alpha1.ResolvedCopy, have Copy) string {
	return workload.DescribeCopy(c) + " can't be made: " + have.Trouble
}

func notMadeInTime(c *v1alpha1.ResolvedCopy) string {
	return fmt.Sprintf("%s was not made within %s", workload.DescribeCopy(c), ClaimLimit)
}

// trouble explains why a mover waits in vain for its node: a volume that is made for its pod can't be made. It returns
// "" if the volume can still come.
func (t *targetRun) trouble(h *host) string {
	for _, v := range h.Host.Volumes {
		if c := t.frozen.CopyOf(v.ClaimName); c != nil && t.run.Copies[c.Name].Trouble != "" {
			return notMadeMessage(c, t.run.Copies[c.Name])
		}
	}
	return ""
}

// underway returns a copy that a host reads and whose volume is being made for its pod, or nil.
func (t *targetRun) underway(h *host) *v1alpha1.ResolvedCopy {
	for _, v := range h.Host.Volumes {
		if c := t.frozen.CopyOf(v.ClaimName); c != nil && t.run.Copies[c.Name].underway() {
			return c
		}
	}
	return nil
}

// mayStillBind reports whether the pod of a mover has no node because a copy is being made for it, or was made so
// lately that the scheduler has not looked since.
func (t *targetRun) mayStillBind(h *host, job run.Job) bool {
	start, now := t.status.StartTime, t.run.Now
	if t.underway(h) != nil {
		return run.MayStillBind(job, job.Created, start, ClaimLimit, now)
	}
	return slices.ContainsFunc(h.Host.Volumes, func(v v1alpha1.ResolvedVolume) bool {
		c := t.frozen.CopyOf(v.ClaimName)
		return c != nil && !t.run.Copies[c.Name].Made.IsZero() &&
			run.MayStillBind(job, t.run.Copies[c.Name].Made, start, observe.UnscheduledLimit, now)
	})
}

// wrongCopy explains why a volume that a host reads is not a copy of the target's volume. It returns "" if nothing is
// known to be wrong.
func (t *targetRun) wrongCopy(h *host) string {
	for _, v := range h.Host.Volumes {
		if c := t.frozen.CopyOf(v.ClaimName); c != nil && t.run.Copies[c.Name].Wrong != "" {
			return workload.DescribeCopy(c) + " is not a copy: " + t.run.Copies[c.Name].Wrong
		}
	}
	return ""
}

// refuseCopies fails components whose mover reported success but read the wrong volume. Some volumes are made for the
// pod that mounts them, and a mover can be faster than the manager.
func (t *targetRun) refuseCopies(h *host) {
	wrong := t.wrongCopy(h)
	for _, v := range h.Host.Volumes {
		if wrong != "" && h.components[v.Component].Phase == v1alpha1.SnapshotSucceeded {
			h.failOne(v, v1alpha1.ReasonCopyFailed, wrong)
		}
	}
}

// make asks for a part of a copy, once.
func (r *runner) make(request CopyRequest) {
	if !slices.ContainsFunc(r.d.Copies, func(o CopyRequest) bool { return o.Copy.Name == request.Copy.Name }) {
		r.d.Copies = append(r.d.Copies, request)
	}
}

// moverJobNames returns all names that the mover Jobs of a target can have.
func moverJobNames(t *v1alpha1.ResolvedTarget) []string {
	var out []string
	for i := range t.Repositories {
		for j := range t.Hosts {
			for attempt := 1; attempt <= 2; attempt++ {
				out = append(out, run.JobName(t.Repositories[i].Snapshot, t.Hosts[j].Name, attempt))
			}
		}
	}
	return out
}

// jobs returns the names of the mover Jobs of the target that exist.
func (t *targetRun) jobs() []string {
	return slices.DeleteFunc(moverJobNames(t.frozen), func(name string) bool {
		_, exists := t.run.Jobs[name]
		return !exists
	})
}

// CopyReaderJobNames returns all names that the Jobs of a frozen run that read copies can have.
func CopyReaderJobNames(s *v1alpha1.BackupSession) []string {
	var out []string
	if s.Status.Resolved == nil {
		return nil
	}
	for i := range s.Status.Resolved.Targets {
		if t := &s.Status.Resolved.Targets[i]; len(t.Copies) > 0 {
			out = append(out, moverJobNames(t)...)
		}
	}
	return out
}

// lingers reports whether a mover of a target with copies has done its work and is about to end. Its pod still uses the
// copies, and the pod must not be stopped in the middle of that. A mover whose node was lost does not count.
func (t *targetRun) lingers() bool {
	if len(t.frozen.Copies) == 0 || t.stop != "" {
		return false
	}
	lingers := false
	for _, name := range t.jobs() {
		job := t.run.Jobs[name]
		if !job.Finished && (job.State == observe.StateWaiting || job.State == observe.StateRunning) &&
			!slices.Contains(t.run.d.Delete, name) {
			lingers = true
			t.run.d.After = run.EarlierOf(t.run.d.After, job.Recheck)
		}
	}
	return lingers
}

// discard deletes the copies of a target whose work is over, and its Jobs. Kubernetes keeps a claim as long as a pod
// names it, even a pod that has ended.
func (t *targetRun) discard() {
	r, left := t.run, false
	for i := range t.frozen.Copies {
		name := t.frozen.Copies[i].Name
		have, there := r.Copies[name]
		left = left || there
		if there && !have.Going() {
			r.d.Discard = append(r.d.Discard, name)
		}
	}
	if !left {
		return
	}
	for _, name := range t.jobs() {
		if !slices.Contains(r.d.Delete, name) {
			r.d.Delete = append(r.d.Delete, name)
		}
	}
}
