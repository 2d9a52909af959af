package restore

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/validate/content"
	"k8s.io/apimachinery/pkg/types"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// Stamp is what AnnotationRestored says about a claim, or about a database on its Lease. An annotation goes along when
// an object is exported and created again. So a stamp counts only for the object and the volume that it names.
type Stamp struct {
	// Digest is the digest of the restore.
	Digest string
	// Target is the UID of the claim, or of the object that stands for the database.
	Target types.UID
	// Volume identifies what holds the data: the UID of the claim's PersistentVolume, or VolumesOfDatabase. It is ""
	// where that was unknown: such a stamp proves nothing.
	Volume string
	// Claims is how many claims the restore filled.
	Claims int
	// Name is the name of the restore. It is "" in a stamp of an earlier version.
	Name string
}

// String returns the value of the annotation.
func (s Stamp) String() string {
	value := fmt.Sprintf("%s/%s/%s/%d", s.Digest, s.Target, s.Volume, s.Claims)
	if s.Name == "" {
		return value
	}
	return value + "/" + s.Name
}

// ParseStamp reads the value of AnnotationRestored. The value of an earlier version has no name, or a digest alone.
func ParseStamp(value string) Stamp {
	parts := strings.Split(value, "/")
	if len(parts) != 4 && len(parts) != 5 {
		return Stamp{Digest: parts[0]}
	}
	claims, err := strconv.Atoi(parts[3])
	if err != nil || !namesRestore(parts[4:]) {
		return Stamp{Digest: parts[0]}
	}
	return Stamp{
		Digest: parts[0], Target: types.UID(parts[1]), Volume: parts[2], Claims: claims,
		Name: strings.Join(parts[4:], ""),
	}
}

// namesRestore reports whether the last part of an annotation can be the name of a restore, or is missing.
func namesRestore(last []string) bool {
	return len(last) == 0 || len(content.IsDNS1123Subdomain(last[0])) == 0
}

// Identical says which earlier restores are identical with one: those with an equal spec that had its name, as a GitOps
// tool makes one again. Whoever gives a restore another name asks for something new.
type Identical struct {
	// Name is the name of the restore. Without it, a restore of any name counts.
	Name string
	// Digests are those of its spec: see the function Digests.
	Digests []string
}

// IdenticalTo returns which restores are identical with s.
func IdenticalTo(s *v1alpha1.RestoreSession) Identical {
	return Identical{Name: s.Name, Digests: Digests(s)}
}

// OfAnyName returns which restores are identical but for the name.
func (i Identical) OfAnyName() Identical { return Identical{Digests: i.Digests} }

// includes reports whether a restore with this digest and name is identical. name is "" in what an earlier version
// wrote: there, every name counts.
func (i Identical) includes(digest, name string) bool {
	return digest != "" && slices.Contains(i.Digests, digest) && (name == "" || i.Name == "" || name == i.Name)
}

// Marked reports whether an annotation of the object says that a restore with one of the digests filled it. That is no
// proof: see Filled.
func Marked(annotations map[string]string, digests ...string) bool {
	digest := ParseStamp(annotations[v1alpha1.AnnotationRestored]).Digest
	return digest != "" && slices.Contains(digests, digest)
}

// Disown makes the annotations of a claim, or of the Lease of a database, no longer prove that an identical restore has
// filled or made it. Of its stamp, the digest stays, as Take leaves it. What another restore says of it by now stays.
func Disown(annotations map[string]string, by Identical) {
	if stamp := ParseStamp(annotations[v1alpha1.AnnotationRestored]); by.includes(stamp.Digest, stamp.Name) {
		annotations[v1alpha1.AnnotationRestored] = stamp.Digest
	}
	made := strings.Split(annotations[v1alpha1.AnnotationMade], "/")
	if by.includes(made[0], strings.Join(made[min(len(made), 3):], "")) {
		delete(annotations, v1alpha1.AnnotationMade)
	}
}

// Disowned reports whether nothing but the digest is left of the stamp of an identical restore: see Disown and Take.
// What it wrote can be there still.
func Disowned(annotations map[string]string, by Identical) bool {
	return annotations[v1alpha1.AnnotationRestored] != "" &&
		slices.Contains(by.Digests, annotations[v1alpha1.AnnotationRestored])
}

// Take makes the annotations of a claim, or of the Lease of a database, say that a restore writes into it now. What
// another restore had filled or made is no longer what the annotations say. That a confirmation was used stays: from
// now on that of this restore is, whatever becomes of it. target is the UID of the claim or database.
func Take(annotations map[string]string, s *v1alpha1.RestoreSession, target types.UID) {
	if Holds(annotations, s.UID) {
		return
	}
	if last := annotations[v1alpha1.AnnotationRestoring]; last != "" { // it is gone, and was never released
		widenHalf(annotations, types.UID(last))
	}
	annotations[v1alpha1.AnnotationRestoring] = string(s.UID)
	markHalf(annotations, s, target)
	delete(annotations, v1alpha1.AnnotationMade)
	if stamp := ParseStamp(annotations[v1alpha1.AnnotationRestored]); stamp.Digest != "" {
		annotations[v1alpha1.AnnotationRestored] = stamp.Digest
		rememberUsed(annotations, stamp.Digest) // an earlier version wrote it nowhere else
	}
	ConfirmationOf(s).use(annotations)
}

// Holds reports whether a restore is the one that writes into a claim or a database with these annotations: see Take.
func Holds(annotations map[string]string, s types.UID) bool {
	return annotations[v1alpha1.AnnotationRestoring] == string(s)
}

// FilledBy reports whether an identical restore filled a claim that still has that volume. volume is the UID of its
// PersistentVolume, or "" if it has none.
func FilledBy(claim *corev1.PersistentVolumeClaim, volume types.UID, by Identical) bool {
	stamp := ParseStamp(claim.Annotations[v1alpha1.AnnotationRestored])
	return by.includes(stamp.Digest, stamp.Name) && claim.DeletionTimestamp == nil &&
		claim.Status.Phase != corev1.ClaimLost && stamp.Target == claim.UID &&
		volume != "" && stamp.Volume == string(volume)
}

// Filled says which claims of a namespace identical restores have filled.
type Filled struct {
	proven map[string]bool
	claims int
}

// FindFilled returns which of the claims an identical restore has filled. volumes holds, by the name of the claim, the
// UIDs of the PersistentVolumes of those that are Marked.
func FindFilled(claims []corev1.PersistentVolumeClaim, volumes map[string]types.UID, by Identical) Filled {
	out := Filled{proven: map[string]bool{}}
	for i := range claims {
		c := &claims[i]
		if FilledBy(c, volumes[c.Name], by) {
			out.proven[c.Name] = true
			out.claims = max(out.claims, ParseStamp(c.Annotations[v1alpha1.AnnotationRestored]).Claims)
		}
	}
	return out
}

// All reports whether the restore filled each claim of these names. Without names it returns false.
func (f Filled) All(names []string) bool {
	for _, name := range names {
		if !f.proven[name] {
			return false
		}
	}
	return len(names) > 0
}

// Complete reports whether every claim that the restore filled still has its data.
func (f Filled) Complete() bool { return len(f.proven) > 0 && len(f.proven) >= f.claims }

// DatabaseFilledBy reports whether an identical restore filled a database. lease holds the annotations of the
// database's Lease, target is the UID of the object that stands for it, and volumes is VolumesOfDatabase of its server.
func DatabaseFilledBy(lease map[string]string, target types.UID, volumes string, by Identical) bool {
	stamp := ParseStamp(lease[v1alpha1.AnnotationRestored])
	return by.includes(stamp.Digest, stamp.Name) && stamp.Target == target && volumes != "" && stamp.Volume == volumes
}

// VolumesOfDatabase identifies what holds the data of a database: the claims of its only server, by their UIDs, and the
// server itself unless its data is clearly on these claims. It returns "" where several servers answer, or one
// elsewhere: the object that stands for the database stays when their data is lost.
func VolumesOfDatabase(server *corev1.Pod, claims []corev1.PersistentVolumeClaim) string {
	if server == nil {
		return ""
	}
	uids := claimsOfServer(server, claims)
	if len(uids) == 0 || !keepsData(&server.Spec) {
		uids = append(uids, lifeOf(server))
	}
	return strings.Join(uids, "+")
}

// claimsOfServer returns the UIDs of the claims that a server mounts.
func claimsOfServer(server *corev1.Pod, claims []corev1.PersistentVolumeClaim) []string {
	var uids []string
	for _, v := range server.Spec.Volumes {
		if v.PersistentVolumeClaim == nil {
			continue
		}
		for i := range claims {
			if claims[i].Name == v.PersistentVolumeClaim.ClaimName {
				uids = append(uids, string(claims[i].UID))
			}
		}
	}
	return uids
}

// DatabaseCanHold reports whether a database can hold what an identical restore of any name wrote, as far as the stamp
// tells, which need not prove that: see DatabaseFilledBy. Only other claims, and another pod where there were none, say
// that the data is gone, unless the server has a volume that stays with its node or elsewhere. server is the only
// server, or nil.
func DatabaseCanHold(
	lease map[string]string, target types.UID, server *corev1.Pod, claims []corev1.PersistentVolumeClaim, by Identical,
) bool {
	stamp := ParseStamp(lease[v1alpha1.AnnotationRestored])
	if !Marked(lease, by.Digests...) || stamp.Target != "" && stamp.Target != target {
		return false
	}
	if stamp.Volume == "" || server == nil || outlivesPods(&server.Spec) {
		return true
	}
	there := claimsOfServer(server, claims)
	if outlivesContainers(&server.Spec) {
		there = append(there, string(server.UID))
	}
	return slices.ContainsFunc(strings.Split(stamp.Volume, "+"), func(was string) bool {
		was, _, _ = strings.Cut(was, ".") // see lifeOf
		return slices.Contains(there, was)
	})
}

// outlivesContainers reports whether a pod has a volume, other than settings, whose data stays when a container starts
// again.
func outlivesContainers(pod *corev1.PodSpec) bool {
	return slices.ContainsFunc(pod.Volumes, func(v corev1.Volume) bool { return !isSettings(&v) })
}

// outlivesPods reports whether a container writes data to a volume that stays when the pod and its claims go, such as a
// path of the node.
func outlivesPods(pod *corev1.PodSpec) bool {
	return slices.ContainsFunc(pod.Volumes, func(v corev1.Volume) bool {
		return !isSettings(&v) && v.PersistentVolumeClaim == nil && v.EmptyDir == nil && v.Ephemeral == nil &&
			v.CSI == nil && v.Image == nil && slices.ContainsFunc(pod.Containers, func(c corev1.Container) bool {
			return slices.ContainsFunc(c.VolumeMounts, func(m corev1.VolumeMount) bool {
				return m.Name == v.Name && !m.ReadOnly && holdsData(m.MountPath)
			})
		})
	})
}

// isSettings reports whether a volume holds only what objects of the cluster say.
func isSettings(v *corev1.Volume) bool {
	return v.ConfigMap != nil || v.Secret != nil || v.Projected != nil || v.DownwardAPI != nil
}

// lifeOf identifies a pod until one of its containers starts again: what is in no volume is lost then.
func lifeOf(pod *corev1.Pod) string {
	restarts := int32(0)
	for i := range pod.Status.ContainerStatuses {
		restarts += pod.Status.ContainerStatuses[i].RestartCount
	}
	if restarts == 0 {
		return string(pod.UID)
	}
	return fmt.Sprintf("%s.%d", pod.UID, restarts)
}

// keepsData reports whether the data of a server is on claims, as far as the paths of its mounts tell: a claim is where
// servers keep data, and no volume that goes with the pod, or with its node, is at such a path.
func keepsData(pod *corev1.PodSpec) bool {
	keeps := false
	for i := range pod.Containers {
		for _, m := range pod.Containers[i].VolumeMounts {
			if m.ReadOnly || !holdsData(m.MountPath) {
				continue
			}
			at := slices.IndexFunc(pod.Volumes, func(v corev1.Volume) bool { return v.Name == m.Name })
			if at < 0 {
				return false
			}
			switch v := &pod.Volumes[at]; {
			case v.PersistentVolumeClaim != nil:
				keeps = true
			case !isSettings(v):
				return false
			}
		}
	}
	return keeps
}

// holdsData reports whether database servers keep their data at a path, and neither settings, logs nor scratch files. A
// directory such as /.mongodb is the home of a client.
func holdsData(path string) bool {
	products, data := []string{"postgres", "pgsql", "mysql", "mariadb", "mongo", "redis", "valkey"}, false
	for _, name := range strings.Split(path, "/") {
		if len(name) > 1 && name[0] == '.' {
			return false
		}
		switch name {
		case "etc", "conf", "conf.d", "config", "certs", "tmp", "run", "log", "logs", "shm":
			return false
		case "data", "db", "pgdata", "bitnami":
			data = true
		}
		data = data || slices.ContainsFunc(products, func(p string) bool { return strings.Contains(name, p) })
	}
	return data
}

// ClaimsOf returns the names of the claims of a restore's hosts.
func ClaimsOf(hosts []v1alpha1.ResolvedRestoreHost) []string {
	var names []string
	for _, h := range hosts {
		for _, v := range h.Volumes {
			names = append(names, v.ClaimName)
		}
	}
	return names
}

// AlreadyRestoredMessage says what is known of a restore that was made again and restores nothing. kind is what a
// person made again, and filled what the one before has filled.
func AlreadyRestoredMessage(kind, filled string) string {
	return fmt.Sprintf("an identical %s of this name, or of an earlier version of Cairn, has filled the %s before. "+
		"Its claims and volumes are still the same, but nobody has looked at what they hold now. To restore again, "+
		"use another name (and another word in confirm where it is set), or another spec if an earlier version has "+
		"filled the %[2]s", kind, filled)
}

// UnboundMessage explains why a claim that an identical earlier restore made still has no volume.
func UnboundMessage(claim string) string {
	return fmt.Sprintf("an identical earlier restore made PersistentVolumeClaim %s; it gets its volume when a pod "+
		"mounts it, because the parameter bind is false", claim)
}
