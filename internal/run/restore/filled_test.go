package restore

import (
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// march returns which restores are identical with that of these tests.
func march(digest string) Identical { return Identical{Name: "march", Digests: []string{digest}} }

// filledClaim returns a claim that the restore march with the digest filled, together with another one. The volumes of
// these tests have the UID v.
func filledClaim(name, digest string) corev1.PersistentVolumeClaim {
	stamp := Stamp{Digest: digest, Target: types.UID("uid-" + name), Volume: "v", Claims: 2, Name: "march"}
	return corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{
			Name: name, UID: types.UID("uid-" + name),
			Annotations: map[string]string{v1alpha1.AnnotationRestored: stamp.String()},
		},
		Status: corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimBound},
	}
}

func TestFilledBy(t *testing.T) {
	stamp := func(value string) func(*corev1.PersistentVolumeClaim) {
		return func(c *corev1.PersistentVolumeClaim) { c.Annotations[v1alpha1.AnnotationRestored] = value }
	}
	for name, tt := range map[string]struct {
		change func(*corev1.PersistentVolumeClaim)
		volume types.UID
		want   bool
	}{
		"by an identical restore":    {func(*corev1.PersistentVolumeClaim) {}, "v", true},
		"by another restore":         {stamp("e/uid-data/v/2/march"), "v", false},
		"by one of another name":     {stamp("d/uid-data/v/2/october"), "v", false},
		"by one without a name":      {stamp("d/uid-data/v/2"), "v", true}, // of an earlier version
		"by none":                    {func(c *corev1.PersistentVolumeClaim) { c.Annotations = nil }, "v", false},
		"says an earlier version":    {stamp("d"), "v", false},
		"but the value is no stamp":  {stamp("d/uid-data/v/many"), "v", false},
		"but the value has no name":  {stamp("d/uid-data/v/2/"), "v", false},
		"but the name is not one":    {stamp("d/uid-data/v/2/March!"), "v", false},
		"but the value has too much": {stamp("d/uid-data/v/2/march/4"), "v", false},
		"but another claim of its name, which was created again with the annotations": {
			func(c *corev1.PersistentVolumeClaim) { c.UID = "new" }, "v", false,
		},
		"but it has another volume now":             {func(*corev1.PersistentVolumeClaim) {}, "w", false},
		"but its volume is gone":                    {func(*corev1.PersistentVolumeClaim) {}, "", false},
		"but its volume was unknown and is unknown": {stamp("d/uid-data//2/march"), "", false},
		"but it has lost its data": {
			func(c *corev1.PersistentVolumeClaim) { c.Status.Phase = corev1.ClaimLost }, "v", false,
		},
		"but it is being deleted": {
			func(c *corev1.PersistentVolumeClaim) { c.DeletionTimestamp = &metav1.Time{} }, "v", false,
		},
	} {
		t.Run(name, func(t *testing.T) {
			claim := filledClaim("data", "d")
			tt.change(&claim)
			NewWithT(t).Expect(FilledBy(&claim, tt.volume, march("d"))).To(Equal(tt.want))
		})
	}
}

func TestFilledClaims(t *testing.T) {
	claims := []corev1.PersistentVolumeClaim{
		filledClaim("data", "d"), filledClaim("logs", "d"), filledClaim("other", "e"), filledClaim("gone", "d"),
	}
	claims[3].UID = "created again"
	volumes := map[string]types.UID{"data": "v", "logs": "v", "other": "v", "gone": "v"}
	filled := FindFilled(claims, volumes, march("d"))
	for name, tt := range map[string]struct {
		names []string
		all   bool
	}{
		"all":                   {[]string{"data", "logs"}, true},
		"one is another":        {[]string{"data", "other"}, false},
		"one was created again": {[]string{"data", "gone"}, false},
		"one is missing":        {[]string{"data", "new"}, false},
		"no claim at all":       {nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			NewWithT(t).Expect(filled.All(tt.names)).To(Equal(tt.all))
		})
	}
	g := NewWithT(t)
	g.Expect(filled.Complete()).To(BeTrue(), "the restore filled two claims")
	g.Expect(FindFilled(claims[:1], volumes, march("d")).Complete()).To(BeFalse(), "one of the two is left")
	g.Expect(FindFilled(claims, volumes, march("d").OfAnyName()).Complete()).To(BeTrue())
	g.Expect(FindFilled(claims, volumes, march("f")).Complete()).To(BeFalse())
	g.Expect(FindFilled(claims, volumes, march("")).Complete()).To(BeFalse())
	g.Expect(ClaimsOf([]v1alpha1.ResolvedRestoreHost{
		{Volumes: []v1alpha1.ResolvedRestoreVolume{{ClaimName: "a"}, {ClaimName: "b"}}},
		{Volumes: []v1alpha1.ResolvedRestoreVolume{{ClaimName: "c"}}},
	})).To(Equal([]string{"a", "b", "c"}))
}

func TestDatabaseFilledBy(t *testing.T) {
	g := NewWithT(t)
	lease := map[string]string{
		v1alpha1.AnnotationRestored: Stamp{
			Digest: "d", Target: "service", Volume: "uid-data", Claims: 1, Name: "march",
		}.String(),
	}
	october := Identical{Name: "october", Digests: []string{"e", "d"}}
	g.Expect(DatabaseFilledBy(lease, "service", "uid-data", october)).To(BeFalse(), "it is a new request")
	g.Expect(DatabaseFilledBy(lease, "service", "uid-data", october.OfAnyName())).To(BeTrue())
	g.Expect(DatabaseFilledBy(lease, "service", "uid-data", march("d"))).To(BeTrue())
	g.Expect(DatabaseFilledBy(lease, "service", "uid-data", march("e"))).To(BeFalse())
	g.Expect(DatabaseFilledBy(lease, "another", "uid-data", march("d"))).To(BeFalse())
	g.Expect(DatabaseFilledBy(lease, "service", "uid-new", march("d"))).To(BeFalse(), "its server has a new volume")
	bare := map[string]string{v1alpha1.AnnotationRestored: "d"}
	g.Expect(DatabaseFilledBy(bare, "service", "", march("d"))).To(BeFalse())
	g.Expect(DatabaseFilledBy(nil, "service", "", march("d"))).To(BeFalse())
	lease[v1alpha1.AnnotationRestored] = Stamp{Digest: "d", Target: "service", Claims: 1}.String()
	g.Expect(DatabaseFilledBy(lease, "service", "", march("d"))).To(BeFalse(), "its server was unknown and is unknown")
}

func TestVolumesOfDatabase(t *testing.T) {
	claims := []corev1.PersistentVolumeClaim{filledClaim("data", "d"), filledClaim("logs", "d")}
	at := func(volume, path string) corev1.VolumeMount { return corev1.VolumeMount{Name: volume, MountPath: path} }
	readOnly := at("data", "/var/lib/mysql")
	readOnly.ReadOnly = true
	for name, tt := range map[string]struct {
		volumes []string
		mounts  []corev1.VolumeMount
		want    string
	}{
		"no volume": {nil, nil, "pod"},
		"its data is on a claim": {
			[]string{"data"}, []corev1.VolumeMount{at("data", "/var/lib/postgresql/data")}, "uid-data",
		},
		"its data is on a claim, beside others": {
			[]string{"data", "logs", "empty"}, []corev1.VolumeMount{
				at("data", "/bitnami/mysql"), at("logs", "/logs"), at("empty", "/opt/bitnami/mysql/conf"),
				at("empty", "/tmp"), at("empty", "/controller"),
			}, "uid-data+uid-logs",
		},
		"its data is on a claim, beside its home and its certificates": {
			[]string{"data", "empty"}, []corev1.VolumeMount{
				at("data", "/bitnami/mongodb"), at("empty", "/.mongodb"), at("empty", "/opt/bitnami/postgresql/certs"),
			}, "uid-data",
		},
		"its data goes with the pod": {
			[]string{"data", "empty"}, []corev1.VolumeMount{
				at("data", "/etc/postgresql"), at("empty", "/var/lib/postgresql/data"),
			}, "uid-data+pod",
		},
		"its data is on a claim, or goes with the pod": {
			[]string{"data", "empty"},
			[]corev1.VolumeMount{at("data", "/data"), at("empty", "/var/lib/redis")},
			"uid-data+pod",
		},
		"its data is in the container": {
			[]string{"data"}, []corev1.VolumeMount{at("data", "/config")}, "uid-data+pod",
		},
		"it can't write to the claim":   {[]string{"data"}, []corev1.VolumeMount{readOnly}, "uid-data+pod"},
		"the claim's path says nothing": {[]string{"data"}, []corev1.VolumeMount{at("data", "/srv")}, "uid-data+pod"},
		"the claim is not mounted":      {[]string{"data"}, nil, "uid-data+pod"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			server := serverWith(tt.volumes...)
			server.Spec.Containers = []corev1.Container{{VolumeMounts: tt.mounts}}
			g.Expect(VolumesOfDatabase(server, claims)).To(Equal(tt.want))
		})
	}
	g, server := NewWithT(t), &corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: "pod"}}
	g.Expect(VolumesOfDatabase(nil, claims)).To(BeEmpty())
	server.Status.ContainerStatuses = []corev1.ContainerStatus{{RestartCount: 2}}
	g.Expect(VolumesOfDatabase(server, claims)).To(Equal("pod.2"), "the container began anew")
}

// A hook must not meet what a database can still hold. One that is empty after a disaster is restored without a word.
func TestDatabaseCanHold(t *testing.T) {
	claims := []corev1.PersistentVolumeClaim{filledClaim("data", "d"), filledClaim("new", "d")}
	for name, tt := range map[string]struct {
		stamp   string
		volumes []string // of the server
		gone    bool
		want    bool
	}{
		"nobody could see it when the restore ended": {"d/service//1/march", []string{"data"}, false, true},
		"another name":             {"d/service/uid-data/1/october", []string{"data"}, false, true},
		"it has one more claim":    {"d/service/uid-data/1/march", []string{"data", "new"}, false, true},
		"another pod, same claim":  {"d/service/uid-data+old/1/march", []string{"data"}, false, true},
		"same pod, anew":           {"d/service/pod.1/1/march", []string{"empty"}, false, true},
		"its server is elsewhere":  {"d/service/uid-data/1/march", nil, true, true},
		"nobody vouches for it":    {"d", []string{"new"}, false, true},
		"another claim":            {"d/service/uid-data/1/march", []string{"new"}, false, false},
		"another claim and pod":    {"d/service/uid-data+old/1/march", []string{"new"}, false, false},
		"another pod":              {"d/service/old/1/march", []string{"empty"}, false, false},
		"a container without data": {"d/service/pod/1/march", []string{"settings"}, false, false},
		"another pod on its node":  {"d/service/old/1/march", []string{"node"}, false, true},
		"the time of the node":     {"d/service/old/1/march", []string{"empty", "zone"}, false, false},
		"another database":         {"d/other/uid-data/1/march", []string{"data"}, false, false},
		"another restore":          {"e/service/uid-data/1/march", []string{"data"}, false, false},
		"nothing":                  {"", []string{"data"}, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			lease := map[string]string{v1alpha1.AnnotationRestored: tt.stamp}
			server := serverWith(tt.volumes...)
			server.Status.ContainerStatuses = []corev1.ContainerStatus{{RestartCount: 2}}
			if tt.gone {
				server = nil
			}
			NewWithT(t).Expect(DatabaseCanHold(lease, "service", server, claims, march("d"))).To(Equal(tt.want))
		})
	}
}

// serverWith returns the pod of a database with volumes: "empty" goes with it, "node" and "zone" are paths of the node,
// and any other but "settings" is a claim.
func serverWith(volumes ...string) *corev1.Pod {
	server := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: "pod"}}
	for _, name := range volumes {
		v := corev1.Volume{Name: name}
		switch name {
		case "empty":
			v.EmptyDir = &corev1.EmptyDirVolumeSource{}
		case "settings":
			v.ConfigMap = &corev1.ConfigMapVolumeSource{}
		case "node", "zone":
			v.HostPath = &corev1.HostPathVolumeSource{Path: "/"}
		default:
			v.PersistentVolumeClaim = &corev1.PersistentVolumeClaimVolumeSource{ClaimName: name}
		}
		server.Spec.Volumes = append(server.Spec.Volumes, v)
	}
	server.Spec.Containers = []corev1.Container{{VolumeMounts: []corev1.VolumeMount{
		{Name: "node", MountPath: "/var/lib/postgresql"}, {Name: "zone", MountPath: "/etc/localtime"},
	}}}
	return server
}

func TestDisown(t *testing.T) {
	for name, tt := range map[string]struct {
		stamp, made string
		want, left  string
		disowned    bool
	}{
		"what an identical restore has filled": {
			stamp: "d/uid/v/2/march", want: "d", disowned: true,
		},
		"what one of an earlier version has filled": {stamp: "d/uid/v/2", want: "d", disowned: true},
		"again":                         {stamp: "d", want: "d", disowned: true},
		"what one has made":             {made: "d/snapshot/uid/march"},
		"what another restore has made": {made: "e/snapshot/uid/march", left: "e/snapshot/uid/march"},
		"what another restore has filled since": {
			stamp: "e/uid/v/2/march", want: "e/uid/v/2/march",
		},
		"what one of another name has filled since": {
			stamp: "d/uid/v/2/october", want: "d/uid/v/2/october",
		},
		"nothing": {},
	} {
		t.Run(name, func(t *testing.T) {
			g, annotations := NewWithT(t), map[string]string{}
			if tt.stamp != "" {
				annotations[v1alpha1.AnnotationRestored] = tt.stamp
			}
			if tt.made != "" {
				annotations[v1alpha1.AnnotationMade] = tt.made
			}
			Disown(annotations, march("d"))
			g.Expect(annotations[v1alpha1.AnnotationRestored]).To(Equal(tt.want))
			g.Expect(annotations[v1alpha1.AnnotationMade]).To(Equal(tt.left))
			g.Expect(Disowned(annotations, march("d"))).To(Equal(tt.disowned))
			g.Expect(Disowned(annotations, march("f"))).To(BeFalse())
		})
	}
}
