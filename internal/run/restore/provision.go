package restore

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
	"github.com/cairn-backup/cairn/internal/run"
	"github.com/cairn-backup/cairn/internal/task/moverjob"
	"github.com/cairn-backup/cairn/internal/text"
	"github.com/cairn-backup/cairn/internal/volumesnapshot"
)

// ObservedClaim is the present state of a claim that a restore makes from a VolumeSnapshot.
type ObservedClaim struct {
	// UID is the UID of the claim.
	UID types.UID
	// Bound reports whether the claim has its volume.
	Bound bool
	// Wrong explains why the claim is not the one that the restore made, and Reason is the reason for that. Both are ""
	// if it is.
	Wrong, Reason string
	// Warning is the last warning of the cluster about the claim, usually from its provisioner, or "".
	Warning string
}

// ProvisionsClaims reports whether a restore makes its claims from VolumeSnapshots.
func ProvisionsClaims(r *v1alpha1.ResolvedRestore) bool {
	return r != nil && len(r.Hosts) > 0 && len(r.Hosts[0].Volumes) > 0 && r.Hosts[0].Volumes[0].Provision != nil
}

// ObserveClaim returns the present state of the claim of a restored volume. claim is nil if it does not exist, and
// volume is nil if the claim has none. source is the UID of the VolumeSnapshot that now has the name from which the
// claim is made, or "" if there is none.
func ObserveClaim(
	s *v1alpha1.RestoreSession, v *v1alpha1.ResolvedRestoreVolume, claim *corev1.PersistentVolumeClaim,
	source types.UID, volume *corev1.PersistentVolume,
) ObservedClaim {
	if claim == nil {
		return ObservedClaim{
			Reason: v1alpha1.ReasonTargetNotFound,
			Wrong:  fmt.Sprintf("PersistentVolumeClaim %s was deleted", v.ClaimName),
		}
	}
	out := ObservedClaim{
		UID: claim.UID, Reason: v1alpha1.ReasonTargetNotFound, Bound: claim.Status.Phase == corev1.ClaimBound,
	}
	switch {
	case claim.DeletionTimestamp != nil:
		out.Wrong = fmt.Sprintf("PersistentVolumeClaim %s is being deleted", v.ClaimName)
	case claim.Annotations[v1alpha1.AnnotationRestoreSession] != string(s.UID):
		out.Wrong = fmt.Sprintf("PersistentVolumeClaim %s is not the one that the restore made", v.ClaimName)
	case volumesnapshot.SourceOf(claim) != v.Provision.VolumeSnapshot:
		out.Wrong = fmt.Sprintf("PersistentVolumeClaim %s is not made from VolumeSnapshot %s", v.ClaimName,
			v.Provision.VolumeSnapshot)
	case v.Provision.Import == nil && source != "" && source != types.UID(v.ID):
		out.Wrong = fmt.Sprintf("VolumeSnapshot %s was replaced while PersistentVolumeClaim %s was made from it",
			v.Provision.VolumeSnapshot, v.ClaimName)
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

// FormatMade returns the value of AnnotationMade for a claim that a restore made and left to its first consumer pod.
func FormatMade(s *v1alpha1.RestoreSession, v *v1alpha1.ResolvedRestoreVolume, claim types.UID) string {
	return strings.Join([]string{s.Status.Resolved.SpecDigest, v.ID, string(claim), s.Name}, "/")
}

// MadeByIdenticalRestore reports whether an identical restore made a claim and left it to its first consumer pod. The
// claim can have its volume by now. source is the UID of the VolumeSnapshot that now has the name from which the claim
// is made, or "" if there is none.
func MadeByIdenticalRestore(claim *corev1.PersistentVolumeClaim, source types.UID, by Identical) bool {
	parts := strings.Split(claim.Annotations[v1alpha1.AnnotationMade], "/")
	if len(parts) != 3 && len(parts) != 4 || !namesRestore(parts[3:]) { // an earlier version wrote no name
		return false
	}
	of, from := parts[1], volumesnapshot.SourceOf(claim)
	if !by.includes(parts[0], strings.Join(parts[3:], "")) || of == "" || from == "" ||
		claim.DeletionTimestamp != nil || claim.Status.Phase == corev1.ClaimLost || types.UID(parts[2]) != claim.UID {
		return false
	}
	lent := from == policy.ImportName(types.UID(claim.Annotations[v1alpha1.AnnotationRestoreSession]), types.UID(of))
	return lent || source == "" || source == types.UID(of)
}

// ConsumerJobName returns the name of the Job that mounts the claims of a host, so that they get their volumes.
func ConsumerJobName(session, host string, attempt int32) string {
	return policy.JobName("restore", session, host, "mount", strconv.Itoa(int(attempt)))
}

// AwaitingConsumer reports whether the claim of a component was made of a VolumeSnapshot and a pod must mount it now.
func AwaitingConsumer(c v1alpha1.RestoredComponent) bool {
	return c.ClaimUID != "" && !c.Phase.Terminal()
}

// Mounting reports whether the claims of a host were made and a Job mounts those that wait for a consumer.
func Mounting(h *v1alpha1.ResolvedRestoreHost, components map[string]v1alpha1.RestoredComponent) bool {
	for i := range h.Volumes {
		if h.Volumes[i].Provision != nil && AwaitingConsumer(components[h.Volumes[i].Component]) {
			return true
		}
	}
	return false
}

// jobName returns the name of the Job that a host waits for now.
func (r *runner) jobName(h *v1alpha1.ResolvedRestoreHost) string {
	if Mounting(h, r.d.Status.Components) {
		return ConsumerJobName(r.Session.Name, h.Name, r.d.Status.Attempt)
	}
	return JobName(r.Session.Name, h.Name, r.d.Status.Attempt)
}

// provisioned returns the state of a component after a mover made or mounted its claim. The mover's report counts only
// if the claim agrees.
func (r *runner) provisioned(
	v *v1alpha1.ResolvedRestoreVolume, before, said v1alpha1.RestoredComponent,
) v1alpha1.RestoredComponent {
	claim := r.Claims[v.ClaimName]
	said.ID, said.ClaimUID, said.Size = v.ID, claim.UID, "" // only the storage system knows how much it wrote
	said.StartTime = cmp.Or(before.StartTime, said.StartTime)
	failed := func(reason, format string, args ...any) v1alpha1.RestoredComponent {
		said.Phase, said.Reason, said.Error = v1alpha1.RestoreSessionFailed, reason,
			text.Shorten(fmt.Sprintf(format, args...))
		return said
	}
	if said.Phase != v1alpha1.RestoreSessionSucceeded {
		if claim.Warning != "" && claim.Wrong == "" {
			said.Error = text.Shorten(said.Error + ": " + claim.Warning)
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
		said.Error = fmt.Sprintf(
			"PersistentVolumeClaim %s was made and gets its volume when a pod mounts it: the parameter bind says "+
				"that the restore must not mount it", v.ClaimName)
		return said
	case v.Provision.Binding == v1alpha1.BindConsumer && !AwaitingConsumer(before):
		// The claim was made; now a Job mounts it.
		r.d.After = run.EarlierOf(r.d.After, time.Second)
		return v1alpha1.RestoredComponent{ID: v.ID, ClaimUID: claim.UID, StartTime: said.StartTime}
	}
	return failed(v1alpha1.ReasonVolumeNotBound, "PersistentVolumeClaim %s has no volume%s", v.ClaimName,
		afterColon(claim.Warning))
}

// mayStillBind reports whether the pod that mounts claims has no node because the storage system still makes their
// volumes. The parameter waitTimeout limits that time.
func (r *runner) mayStillBind(h *v1alpha1.ResolvedRestoreHost, job run.Job) bool {
	return !r.late() && r.Session.DeletionTimestamp == nil && Mounting(h, r.d.Status.Components) &&
		run.MayStillBind(job, job.Created, r.d.Status.StartTime, WaitTimeout(r.d.Status.Resolved.Task), r.Now)
}

// defaultWait is how long the storage system can take if the task does not say.
const defaultWait = 10 * time.Minute

// WaitTimeout returns how long the storage system can take to make the volumes of a task.
func WaitTimeout(t v1alpha1.ResolvedTask) time.Duration {
	if wait, err := time.ParseDuration(Argument(t, "--wait-timeout")); err == nil && wait > 0 {
		return wait
	}
	return defaultWait
}

// noClass says which StorageClass a claim of a host waits for in vain, or "". A class without an object is no mistake
// by itself: a volume that an administrator makes can have it.
func (r *runner) noClass(h *v1alpha1.ResolvedRestoreHost) string {
	for i := range h.Volumes {
		claim := h.Volumes[i].ClaimName
		if class := r.NoClass[claim]; class != "" {
			return fmt.Sprintf("there is no StorageClass %s, and no volume of that class is bound to "+
				"PersistentVolumeClaim %s yet", class, claim)
		}
	}
	return ""
}

// unbound returns why a claim of a host has no volume, as the end of a sentence, or "".
func (r *runner) unbound(h *v1alpha1.ResolvedRestoreHost) string {
	if why := r.noClass(h); why != "" {
		return afterColon(why)
	}
	for i := range h.Volumes {
		if c := r.Claims[h.Volumes[i].ClaimName]; c.Warning != "" {
			return ": " + c.Warning
		}
	}
	return ""
}

func afterColon(warning string) string {
	if warning == "" {
		return ""
	}
	return ": " + warning
}

// Argument returns the value of an argument --name=value of a task's mover, or "".
func Argument(t v1alpha1.ResolvedTask, name string) string { return moverjob.Argument(t.Args, name) }
