package session

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/task"
	"github.com/cairn-backup/cairn/internal/volumesnapshot"
)

// MadeClaim is a claim that a restore makes of a VolumeSnapshot, as it is now.
type MadeClaim struct {
	// UID of the claim.
	UID types.UID
	// Bound says whether it has its volume.
	Bound bool
	// Wrong says why it is not what the restore made, and Reason says so in a word; "" where it is.
	Wrong, Reason string
	// Warning is what the cluster says about it last, which is the provisioner's word; "" where it says nothing.
	Warning string
}

// ProvisionsClaims says whether a restore makes its claims of VolumeSnapshots.
func ProvisionsClaims(r *v1alpha1.ResolvedRestore) bool {
	return r != nil && len(r.Hosts) > 0 && len(r.Hosts[0].Volumes) > 0 && r.Hosts[0].Volumes[0].Provision != nil
}

// LookAtClaim says what has become of the claim of a volume. claim, and volume that it is bound to, are nil where there is none. source is
// the UID of the VolumeSnapshot that has the name now which the claim is made of, "" where there is none any more.
func LookAtClaim(s *v1alpha1.RestoreSession, v *v1alpha1.ResolvedRestoreVolume, claim *corev1.PersistentVolumeClaim, source types.UID, volume *corev1.PersistentVolume) MadeClaim {
	if claim == nil {
		return MadeClaim{Reason: v1alpha1.ReasonTargetNotFound, Wrong: fmt.Sprintf("PersistentVolumeClaim %s was deleted", v.ClaimName)}
	}
	out := MadeClaim{UID: claim.UID, Reason: v1alpha1.ReasonTargetNotFound, Bound: claim.Status.Phase == corev1.ClaimBound}
	switch {
	case claim.DeletionTimestamp != nil:
		out.Wrong = fmt.Sprintf("PersistentVolumeClaim %s is being deleted", v.ClaimName)
	case claim.Annotations[v1alpha1.AnnotationRestoreSession] != string(s.UID):
		out.Wrong = fmt.Sprintf("PersistentVolumeClaim %s is not the one that the restore made", v.ClaimName)
	case volumesnapshot.SourceOf(claim) != v.Provision.VolumeSnapshot:
		out.Wrong = fmt.Sprintf("PersistentVolumeClaim %s is not made of VolumeSnapshot %s", v.ClaimName, v.Provision.VolumeSnapshot)
	case v.Provision.Import == nil && source != "" && source != types.UID(v.ID):
		out.Wrong = fmt.Sprintf("VolumeSnapshot %s was made anew while PersistentVolumeClaim %s was made of it", v.Provision.VolumeSnapshot, v.ClaimName)
	case claim.Status.Phase == corev1.ClaimLost:
		out.Wrong = fmt.Sprintf("PersistentVolumeClaim %s has lost its volume", v.ClaimName)
	default:
		out.Reason, out.Wrong = v1alpha1.ReasonWrongVolume, volumesnapshot.WrongVolume(claim, volume)
	}
	if out.Wrong == "" {
		out.Reason = ""
	}
	return out
}

// MadeMark is what AnnotationMade says of the claim of a volume that a restore made and left to its first pod.
func MadeMark(digest string, v *v1alpha1.ResolvedRestoreVolume) string { return digest + "/" + v.ID }

// MadeBefore says whether an equal restore made a claim and left it to its first pod: whether it has its volume by now is another
// question. source is the VolumeSnapshot that has the name now which the claim is made of; "" where there is none.
func MadeBefore(claim *corev1.PersistentVolumeClaim, digest string, source types.UID) bool {
	of, made := strings.CutPrefix(claim.Annotations[v1alpha1.AnnotationMade], digest+"/")
	from := volumesnapshot.SourceOf(claim)
	if !made || of == "" || digest == "" || from == "" || claim.DeletionTimestamp != nil || claim.Status.Phase == corev1.ClaimLost {
		return false
	}
	lent := from == policy.ImportName(types.UID(claim.Annotations[v1alpha1.AnnotationRestoreSession]), types.UID(of))
	return lent || source == "" || source == types.UID(of)
}

// ConsumerJobName is the name of the Job that mounts the claims of a host, so that they get their volumes.
func ConsumerJobName(session, host string, attempt int32) string {
	return policy.JobName("restore", session, host, "mount", strconv.Itoa(int(attempt)))
}

// AwaitingConsumer says whether the claim of a volume was made, and a pod must mount it now.
func AwaitingConsumer(c v1alpha1.RestoredComponent) bool {
	return c.ClaimUID != "" && !c.Phase.Terminal()
}

// Mounting says whether the claims of a host were made, and a Job mounts those that wait for that.
func Mounting(h *v1alpha1.ResolvedRestoreHost, components map[string]v1alpha1.RestoredComponent) bool {
	for i := range h.Volumes {
		if AwaitingConsumer(components[h.Volumes[i].Component]) {
			return true
		}
	}
	return false
}

// jobName is the name of the Job that a host waits for now.
func (r *restoreRun) jobName(h *v1alpha1.ResolvedRestoreHost) string {
	if Mounting(h, r.d.Status.Components) {
		return ConsumerJobName(r.Session.Name, h.Name, r.d.Status.Attempt)
	}
	return RestoreJobName(r.Session.Name, h.Name, r.d.Status.Attempt)
}

// provisioned is what has become of a component whose claim a mover made, or mounted: the mover's word counts where the claim says
// the same.
func (r *restoreRun) provisioned(v *v1alpha1.ResolvedRestoreVolume, before, said v1alpha1.RestoredComponent) v1alpha1.RestoredComponent {
	claim := r.Claims[v.ClaimName]
	said.ID, said.ClaimUID, said.Size = v.ID, claim.UID, "" // the storage system knows what it wrote
	said.StartTime = cmp.Or(before.StartTime, said.StartTime)
	failed := func(reason, format string, args ...any) v1alpha1.RestoredComponent {
		said.Phase, said.Reason, said.Error = v1alpha1.RestoreSessionFailed, reason, shorten(fmt.Sprintf(format, args...))
		return said
	}
	if said.Phase != v1alpha1.RestoreSessionSucceeded {
		if claim.Warning != "" && claim.Wrong == "" {
			said.Error = shorten(said.Error + ": " + claim.Warning)
		}
		return said
	}
	switch {
	case claim.Wrong != "":
		return failed(claim.Reason, "%s", claim.Wrong)
	case claim.Bound:
		return said
	case v.Provision.Binding == v1alpha1.BindLater:
		said.Phase, said.Reason = v1alpha1.RestoreSessionUnknown, v1alpha1.ReasonVolumeNotBound
		said.Error = fmt.Sprintf("PersistentVolumeClaim %s is made, and gets its volume when a pod mounts it: the parameter bind says that the restore does not", v.ClaimName)
		return said
	case v.Provision.Binding == v1alpha1.BindConsumer && !AwaitingConsumer(before):
		// Made; now a Job mounts it.
		r.d.After = sooner(r.d.After, time.Second)
		return v1alpha1.RestoredComponent{ID: v.ID, ClaimUID: claim.UID, StartTime: said.StartTime}
	}
	return failed(v1alpha1.ReasonVolumeNotBound, "PersistentVolumeClaim %s has no volume%s", v.ClaimName, because(claim.Warning))
}

// mayStillBind says whether the pod that mounts claims has no node because the storage system still makes their volumes: it has the
// time for that which the parameter waitTimeout says.
func (r *restoreRun) mayStillBind(h *v1alpha1.ResolvedRestoreHost, job Job) bool {
	return job.Reason == v1alpha1.ReasonUnschedulable && !job.Finished && !r.late() && r.Session.DeletionTimestamp == nil &&
		Mounting(h, r.d.Status.Components) && r.Now.Before(job.Created.Add(WaitTimeout(r.d.Status.Resolved.Task)))
}

// defaultWait is how long the storage system may take where the task does not say.
const defaultWait = 10 * time.Minute

// WaitTimeout is how long the storage system may take for what a task has it make.
func WaitTimeout(t v1alpha1.ResolvedTask) time.Duration {
	if wait, err := time.ParseDuration(Argument(t, "--wait-timeout")); err == nil && wait > 0 {
		return wait
	}
	return defaultWait
}

// unbound is what the cluster says about the claims of a host that have no volume, as the end of a sentence.
func (r *restoreRun) unbound(h *v1alpha1.ResolvedRestoreHost) string {
	for i := range h.Volumes {
		if c := r.Claims[h.Volumes[i].ClaimName]; c.Warning != "" {
			return ": " + c.Warning
		}
	}
	return ""
}

func because(warning string) string {
	if warning == "" {
		return ""
	}
	return ": " + warning
}

// Argument is the value of an argument --name=value of a task's mover, "" where it has none.
func Argument(t v1alpha1.ResolvedTask, name string) string { return task.Argument(t.Args, name) }
