package sidecar_test

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/sidecar"
	"github.com/cairn-backup/cairn/internal/task/moverjob"
)

func TestDecide(t *testing.T) {
	settings := &sidecar.Settings{Volumes: []string{"data"}}
	wanted := sidecar.Wanted{Settings: settings, Image: "new"}
	there := sidecar.Found{Image: "old", Anything: true, Theirs: "t", Ours: "o"}
	record := sidecar.Record{Settings: settings.Digest(), Image: "old", Theirs: "t", Ours: "o"}
	found := func(change func(f *sidecar.Found)) sidecar.Found {
		f := there
		change(&f)
		return f
	}
	for name, tt := range map[string]struct {
		wanted sidecar.Wanted
		found  sidecar.Found
		record sidecar.Record
		want   sidecar.Decision
	}{
		"nothing is wanted and nothing is there": {want: sidecar.Decision{Action: sidecar.Leave}},
		"it is not wanted any more": {
			found: there, record: record, want: sidecar.Decision{Action: sidecar.Remove},
		},
		"only the label is left": {
			found: sidecar.Found{Anything: true}, want: sidecar.Decision{Action: sidecar.Remove},
		},
		"an unreadable policy removes nothing": {
			wanted: sidecar.Wanted{Unknown: true}, found: there, record: record,
			want: sidecar.Decision{Action: sidecar.Leave},
		},
		"an unreadable policy adds nothing": {
			wanted: sidecar.Wanted{Unknown: true, Settings: settings, Image: "new"},
			want:   sidecar.Decision{Action: sidecar.Leave},
		},
		"it is wanted": {wanted: wanted, want: sidecar.Decision{Action: sidecar.Inject, Image: "new"}},
		"it is wanted, and is there": {
			wanted: wanted, found: there, record: record, want: sidecar.Decision{Action: sidecar.Leave},
		},
		"a name is taken": {
			wanted: wanted, found: sidecar.Found{Foreign: "init container cairn"},
			want: sidecar.Decision{Action: sidecar.Conflict},
		},
		"others begin a rollout": {
			wanted: wanted, found: found(func(f *sidecar.Found) { f.Theirs, f.Rolling = "u", true }), record: record,
			want: sidecar.Decision{Action: sidecar.Inject, Image: "new"},
		},
		"a rollout of others is over": {
			wanted: wanted, found: found(func(f *sidecar.Found) { f.Theirs = "u" }), record: record,
			want: sidecar.Decision{Action: sidecar.Leave},
		},
		"pods are replaced for another reason": {
			wanted: wanted, found: found(func(f *sidecar.Found) { f.Rolling = true }), record: record,
			want: sidecar.Decision{Action: sidecar.Leave},
		},
		"others begin a rollout, and the image is the newest": {
			wanted: sidecar.Wanted{Settings: settings, Image: "old"},
			found:  found(func(f *sidecar.Found) { f.Theirs, f.Rolling = "u", true }), record: record,
			want: sidecar.Decision{Action: sidecar.Leave},
		},
		"policy wants other settings": {
			wanted: sidecar.Wanted{Settings: &sidecar.Settings{Volumes: []string{"data", "logs"}}, Image: "new"},
			found:  there, record: record,
			want: sidecar.Decision{Action: sidecar.Inject, Image: "new"},
		},
		"somebody changed it": {
			wanted: wanted, found: found(func(f *sidecar.Found) { f.Ours, f.Image = "p", "stones" }), record: record,
			want: sidecar.Decision{Action: sidecar.Inject, Image: "old", Again: true},
		},
		"the API server gave it another image": {
			wanted: sidecar.Wanted{Settings: settings, Image: "old"},
			found:  found(func(f *sidecar.Found) { f.Image = "mirror/old" }), record: record,
			want: sidecar.Decision{Action: sidecar.Leave},
		},
		"somebody removed it": {
			wanted: wanted, found: sidecar.Found{Anything: true, Theirs: "t"}, record: record,
			want: sidecar.Decision{Action: sidecar.Inject, Image: "new", Again: true},
		},
		"the record is lost": {
			wanted: wanted, found: there, want: sidecar.Decision{Action: sidecar.Inject, Image: "old"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			NewWithT(t).Expect(sidecar.Decide(tt.wanted, tt.found, tt.record)).To(Equal(tt.want))
		})
	}
}

// A tool that writes the whole workload removes the sidecar each time. Cairn must not replace the pods for ever.
func TestASidecarIsNotRestoredForEver(t *testing.T) {
	g := NewWithT(t)
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	var r sidecar.Record
	for range 5 {
		_, ok := r.Restore(now)
		g.Expect(ok).To(BeTrue())
		now = now.Add(time.Minute)
	}
	until, ok := r.Restore(now)
	g.Expect(ok).To(BeFalse())
	g.Expect(until).To(BeTemporally("==", now.Add(24*time.Hour-5*time.Minute)))
	g.Expect(r.Restored).To(HaveLen(5))
	_, ok = r.Restore(until)
	g.Expect(ok).To(BeTrue(), "a day later Cairn tries again")
	_, ok = r.Restore(until)
	g.Expect(ok).To(BeFalse())
}

func TestSettingsOfSeveralSessions(t *testing.T) {
	g := NewWithT(t)
	list := func(memory string) corev1.ResourceList {
		return corev1.ResourceList{corev1.ResourceMemory: resource.MustParse(memory)}
	}
	user := v1alpha1.MoverSecurityContext{RunAsUser: new(int64(1000))}
	wish := func(by string, change func(c *corev1.Container), volumes ...string) sidecar.SessionSettings {
		w := sidecar.SessionSettings{By: by, Volumes: volumes, User: user}
		if change != nil {
			change(&w.Container)
		}
		return w
	}
	got, err := sidecar.Merge([]sidecar.SessionSettings{
		wish("a", func(c *corev1.Container) {
			c.Resources = corev1.ResourceRequirements{Requests: list("64Mi"), Limits: list("2Gi")}
			c.Env = []corev1.EnvVar{{Name: "HTTPS_PROXY", Value: "http://proxy"}}
		}, "logs", "data"),
		wish("b", func(c *corev1.Container) {
			c.Resources = corev1.ResourceRequirements{Requests: list("128Mi"), Limits: list("1Gi")}
			c.Env = []corev1.EnvVar{{Name: "HTTPS_PROXY", Value: "http://proxy"}, {Name: "NO_PROXY", Value: "*"}}
		}, "data"),
	}, false)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(got.Volumes).To(Equal([]string{"data", "logs"}))
	g.Expect(got.Resources.Requests.Memory().String()).To(Equal("128Mi"))
	g.Expect(got.Resources.Limits.Memory().String()).To(Equal("2Gi"))
	g.Expect(got.Env).To(HaveLen(2))

	for name, change := range map[string]func(c *corev1.Container){
		"variable HTTPS_PROXY": func(c *corev1.Container) {
			c.Env = []corev1.EnvVar{{
				Name:  "HTTPS_PROXY",
				Value: "other",
			}}
		},
		"envFrom":         func(c *corev1.Container) { c.EnvFrom = []corev1.EnvFromSource{{Prefix: "x"}} },
		"securityContext": func(c *corev1.Container) { c.SecurityContext = &corev1.SecurityContext{RunAsUser: new(int64(1))} },
	} {
		_, err := sidecar.Merge([]sidecar.SessionSettings{
			wish("session a", func(c *corev1.Container) {
				c.Env = []corev1.EnvVar{{
					Name:  "HTTPS_PROXY",
					Value: "http://proxy",
				}}
			}, "data"),
			wish("session b", change, "data"),
		}, false)
		g.Expect(err).To(MatchError(ContainSubstring("session a and session b share one sidecar but set another "+
			name)), name)
	}
}

func TestTheContainer(t *testing.T) {
	g := NewWithT(t)
	settings := &sidecar.Settings{
		Volumes: []string{"data"},
		User:    v1alpha1.MoverSecurityContext{RunAsUser: new(int64(1000)), RunAsGroup: new(int64(1000))},
		Env:     []corev1.EnvVar{{Name: "HOME", Value: "/root"}, {Name: "HTTPS_PROXY", Value: "p"}},
	}
	c, err := sidecar.NewContainer("id", "mover:1", settings)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(c.Resources.Requests.Memory().String()).To(Equal("64Mi"))
	g.Expect(*c.SecurityContext.ReadOnlyRootFilesystem).To(BeTrue())
	g.Expect(*c.SecurityContext.RunAsNonRoot).To(BeTrue())
	g.Expect(*c.SecurityContext.AllowPrivilegeEscalation).To(BeFalse())
	g.Expect(c.SecurityContext.Capabilities.Add).To(BeEmpty())
	var env []string
	for _, e := range c.Env {
		env = append(env, e.Name+"="+e.Value)
	}
	g.Expect(env).To(Equal([]string{
		"HOME=/tmp", "TMPDIR=/tmp", "POD_NAME=", "POD_UID=", "POD_NAMESPACE=",
		"HTTPS_PROXY=p",
	}))
	for _, v := range sidecar.NewVolumes("id") {
		if v.Secret != nil {
			g.Expect(*v.Secret.Optional).To(BeTrue(), "no pod of the workload waits for the Secret")
		}
	}

	settings.Security = &corev1.SecurityContext{RunAsUser: new(int64(0))}
	_, err = sidecar.NewContainer("id", "mover:1", settings)
	g.Expect(err).To(MatchError(moverjob.ErrPrivilegeRequired))
	settings.Privileged = true
	c, err = sidecar.NewContainer("id", "mover:1", settings)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(*c.SecurityContext.RunAsNonRoot).To(BeFalse())
	g.Expect(c.SecurityContext.Capabilities.Add).To(ContainElements(corev1.Capability("DAC_READ_SEARCH"),
		corev1.Capability("CHOWN")))
}

func TestWhatIsAppliedIsOursAlone(t *testing.T) {
	g := NewWithT(t)
	c, err := sidecar.NewContainer("id", "mover:1", &sidecar.Settings{})
	g.Expect(err).NotTo(HaveOccurred())
	gvk := schema.GroupVersionKind{Group: "apps", Version: "v1", Kind: "Deployment"}
	workload := &metav1.ObjectMeta{Namespace: "shop", Name: "web", UID: "u", Labels: map[string]string{"app": "web"}}
	u, err := sidecar.Injection(gvk, workload, "id", c)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(u.Object["metadata"]).To(Equal(map[string]any{
		"namespace": "shop", "name": "web", "uid": "u", "labels": map[string]any{v1alpha1.LabelSidecar: "id"},
	}))
	spec := u.Object["spec"].(map[string]any)
	g.Expect(spec).To(HaveLen(1))
	pod := spec["template"].(map[string]any)["spec"].(map[string]any)
	g.Expect(pod).To(HaveLen(2))
	g.Expect(pod["initContainers"]).To(HaveLen(1))
	g.Expect(pod["volumes"]).To(HaveLen(2))
	g.Expect(sidecar.Withdrawal(gvk, workload).Object).NotTo(HaveKey("spec"))
}

func TestFind(t *testing.T) {
	g := NewWithT(t)
	const fields = `{"f:metadata":{"f:labels":{"f:backup.cairn.dev/sidecar":{}}},"f:spec":{"f:template":{"f:spec":{
		"f:initContainers":{"k:{\"name\":\"cairn\"}":{".":{},"f:name":{},"f:image":{}}},
		"f:volumes":{"k:{\"name\":\"cairn-work\"}":{".":{},"f:name":{}}}}}}}`
	entry := metav1.ManagedFieldsEntry{
		Manager: sidecar.FieldManager, Operation: metav1.ManagedFieldsOperationApply,
		FieldsV1: &metav1.FieldsV1{Raw: []byte(fields)},
	}
	bare := &corev1.PodTemplateSpec{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "web"}}}}
	with := bare.DeepCopy()
	with.Spec.InitContainers = []corev1.Container{{Name: "cairn", Image: "mover:1"}}
	with.Spec.Volumes = []corev1.Volume{{Name: "cairn-work"}}

	none, err := sidecar.Find(&metav1.ObjectMeta{}, bare)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(none.Anything).To(BeFalse())
	ours, err := sidecar.Find(&metav1.ObjectMeta{ManagedFields: []metav1.ManagedFieldsEntry{entry}}, with)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(ours.Image).To(Equal("mover:1"))
	g.Expect(ours.Anything).To(BeTrue())
	g.Expect(ours.Foreign).To(BeEmpty())
	g.Expect(ours.Theirs).To(Equal(none.Theirs), "the rest of the template is the same")
	g.Expect(ours.Ours).NotTo(Equal(none.Ours))

	theirs, err := sidecar.Find(&metav1.ObjectMeta{}, with)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(theirs.Image).To(BeEmpty())
	g.Expect(theirs.Foreign).NotTo(BeEmpty())
	entry.Operation = metav1.ManagedFieldsOperationUpdate
	updated, err := sidecar.Find(&metav1.ObjectMeta{ManagedFields: []metav1.ManagedFieldsEntry{entry}}, with)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(updated.Foreign).NotTo(BeEmpty(), "only what our field manager applied is ours")
}

func TestStateIsReadAsItWasWritten(t *testing.T) {
	g := NewWithT(t)
	s := sidecar.State{
		Record: sidecar.Record{Settings: "s", RolledOut: true}, Workload: "u",
		Policies: map[string]int64{"web": 3}, Reason: "R", Message: "m",
	}
	text, err := s.Encode()
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(sidecar.StateOf(map[string]string{v1alpha1.AnnotationSidecarState: text})).To(Equal(s))
	g.Expect(sidecar.StateOf(map[string]string{v1alpha1.AnnotationSidecarState: "{"})).To(Equal(sidecar.State{}))
	g.Expect(sidecar.StateOf(nil)).To(Equal(sidecar.State{}))
}
