package sidecar_test

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/sidecar"
	"github.com/cairn-backup/cairn/internal/task"
	"github.com/cairn-backup/cairn/internal/task/moverjob"
)

// step is what a Decision does to the workload. again reports that the sidecar comes back after somebody removed or
// changed it.
type step struct {
	action sidecar.Action
	image  string
	again  bool
}

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
		want   step
	}{
		"nothing is wanted and nothing is there": {want: step{action: sidecar.Forget}},
		"it is not wanted any more": {
			found: there, record: record, want: step{action: sidecar.Remove},
		},
		"only the label is left": {
			found: sidecar.Found{Anything: true}, want: step{action: sidecar.Remove},
		},
		"an unreadable policy removes nothing": {
			wanted: sidecar.Wanted{Unknown: true}, found: there, record: record,
			want: step{action: sidecar.Leave},
		},
		"an unreadable policy adds nothing": {
			wanted: sidecar.Wanted{Unknown: true, Settings: settings, Image: "new"},
			want:   step{action: sidecar.Leave},
		},
		"it is wanted": {wanted: wanted, want: step{action: sidecar.Inject, image: "new"}},
		"it is wanted, and is there": {
			wanted: wanted, found: there, record: record, want: step{action: sidecar.Leave},
		},
		"a name is taken": {
			wanted: wanted, found: sidecar.Found{Foreign: "init container cairn"},
			want: step{action: sidecar.Conflict},
		},
		"others begin a rollout": {
			wanted: wanted, found: found(func(f *sidecar.Found) { f.Theirs, f.Rolling = "u", true }), record: record,
			want: step{action: sidecar.Inject, image: "new"},
		},
		"a rollout of others is over": {
			wanted: wanted, found: found(func(f *sidecar.Found) { f.Theirs = "u" }), record: record,
			want: step{action: sidecar.Leave},
		},
		"pods are replaced for another reason": {
			wanted: wanted, found: found(func(f *sidecar.Found) { f.Rolling = true }), record: record,
			want: step{action: sidecar.Leave},
		},
		"others begin a rollout, and the image is the newest": {
			wanted: sidecar.Wanted{Settings: settings, Image: "old"},
			found:  found(func(f *sidecar.Found) { f.Theirs, f.Rolling = "u", true }), record: record,
			want: step{action: sidecar.Leave},
		},
		"policy wants other settings": {
			wanted: sidecar.Wanted{Settings: &sidecar.Settings{Volumes: []string{"data", "logs"}}, Image: "new"},
			found:  there, record: record,
			want: step{action: sidecar.Inject, image: "new"},
		},
		"somebody changed it": {
			wanted: wanted, found: found(func(f *sidecar.Found) { f.Ours, f.Image = "p", "stones" }), record: record,
			want: step{action: sidecar.Inject, image: "old", again: true},
		},
		"the API server gave it another image": {
			wanted: sidecar.Wanted{Settings: settings, Image: "old"},
			found:  found(func(f *sidecar.Found) { f.Image = "mirror/old" }), record: record,
			want: step{action: sidecar.Leave},
		},
		"somebody removed it": {
			wanted: wanted, found: sidecar.Found{Anything: true, Theirs: "t"}, record: record,
			want: step{action: sidecar.Inject, image: "new", again: true},
		},
		"the record is lost": {
			wanted: wanted, found: there, want: step{action: sidecar.Inject, image: "old"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := sidecar.Decide(sidecar.Input{
				Wanted: tt.wanted, Asked: tt.wanted.Settings != nil || tt.wanted.Unknown, Found: tt.found,
				State: sidecar.State{Record: tt.record},
			})
			NewWithT(t).Expect(step{d.Action, d.Image, len(d.State.Restored) > 0}).To(Equal(tt.want))
		})
	}
}

// What keeps a step from being taken also says why, and when to look again.
func TestDecideExplains(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	settings := &sidecar.Settings{Volumes: []string{"data"}}
	wanted := sidecar.Wanted{Settings: settings, Image: "new"}
	there := sidecar.Found{Image: "old", Anything: true, Theirs: "t", Ours: "o"}
	record := sidecar.Record{Settings: settings.Digest(), Image: "old", Theirs: "t", Ours: "o"}
	removed := record
	for i := range 5 {
		removed.Restored = append(removed.Restored, metav1.NewTime(now.Add(time.Duration(i-5)*time.Minute)))
	}
	restore := func(podUID types.UID, annotations map[string]string) v1alpha1.RestoreSession {
		text, err := sidecar.Encode(sidecar.Work{Assignments: []sidecar.Assignment{{
			Host: "target", Attempt: 1, Pod: "web-x", PodUID: podUID,
			Components: []sidecar.Component{{Component: task.Component{Name: "data"}, Volume: "data"}},
		}}})
		NewWithT(t).Expect(err).NotTo(HaveOccurred())
		r := v1alpha1.RestoreSession{ObjectMeta: metav1.ObjectMeta{Name: "back", Annotations: annotations}}
		metav1.SetMetaDataAnnotation(&r.ObjectMeta, v1alpha1.AnnotationSidecarTask, text)
		return r
	}
	other := restore("q", nil)
	other.Name = "other"
	for name, tt := range map[string]struct {
		in      sidecar.Input
		action  sidecar.Action
		reason  string
		message string
		held    bool
		after   time.Duration
	}{
		"it restores and is not wanted any more": {
			in:     sidecar.Input{Found: there, Restores: []v1alpha1.RestoreSession{restore("p", nil)}},
			action: sidecar.Leave, held: true, after: 5 * time.Second,
			reason:  v1alpha1.ReasonSidecarRolloutInProgress,
			message: "the sidecar of Deployment shop/web changes once RestoreSession back has ended",
		},
		"several restores, which come in any order": {
			in:     sidecar.Input{Found: there, Restores: []v1alpha1.RestoreSession{other, restore("p", nil)}},
			action: sidecar.Leave, held: true, after: 5 * time.Second,
			reason: v1alpha1.ReasonSidecarRolloutInProgress, message: "RestoreSession back has ended",
		},
		"a restore has no pod yet": {
			in:     sidecar.Input{Found: there, Restores: []v1alpha1.RestoreSession{restore("", nil)}},
			action: sidecar.Remove,
		},
		"a restore is a record": {
			in: sidecar.Input{Found: there, Restores: []v1alpha1.RestoreSession{
				restore("p", map[string]string{v1alpha1.AnnotationRecord: "true"}),
			}},
			action: sidecar.Remove,
		},
		"it restores and nothing changes": {
			in: sidecar.Input{
				Wanted: wanted, Asked: true, Found: there, State: sidecar.State{Record: record},
				Restores: []v1alpha1.RestoreSession{restore("p", nil)},
			},
			action: sidecar.Leave,
		},
		"somebody removes it again and again": {
			in: sidecar.Input{
				Wanted: wanted, Asked: true, Found: sidecar.Found{Anything: true},
				State: sidecar.State{Record: removed},
			},
			action: sidecar.Leave, reason: v1alpha1.ReasonSidecarNotPossible, message: "some other writer",
			after: 24*time.Hour - 5*time.Minute,
		},
		"a name is taken": {
			in:     sidecar.Input{Wanted: wanted, Asked: true, Found: sidecar.Found{Foreign: "volume cairn-work"}},
			action: sidecar.Conflict, reason: v1alpha1.ReasonNameConflict,
			message: "has a volume cairn-work of its own", after: time.Minute,
		},
		"another policy is not clear": {
			in:     sidecar.Input{Wanted: sidecar.Wanted{Unknown: true, Unclear: "other"}, Asked: true},
			action: sidecar.Leave, reason: v1alpha1.ReasonSidecarNotPossible,
			message: "waits for BackupConfiguration other",
		},
		"it is known why it is impossible": {
			in: sidecar.Input{
				Wanted: sidecar.Wanted{Unknown: true, Unclear: "other"}, Asked: true,
				State: sidecar.State{Reason: "Known", Message: "known"},
			},
			action: sidecar.Leave, reason: "Known", message: "known",
		},
		"its Secret belongs to somebody": {
			in: sidecar.Input{Wanted: wanted, Asked: true, SecretTaken: true}, action: sidecar.AwaitSecret,
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			tt.in.Now, tt.in.Workload = now, "Deployment shop/web"
			d := sidecar.Decide(tt.in)
			g.Expect(d.Action).To(Equal(tt.action))
			g.Expect(d.State.Reason).To(Equal(tt.reason))
			g.Expect(d.State.Message).To(ContainSubstring(tt.message))
			g.Expect(d.Held).To(Equal(tt.held))
			g.Expect(d.After).To(Equal(tt.after))
		})
	}
}

// A change that others have rolled out is no reason for another rollout later.
func TestDecideNotesWhatOthersRolledOut(t *testing.T) {
	settings := &sidecar.Settings{}
	in := sidecar.Input{
		Wanted: sidecar.Wanted{Settings: settings, Image: "new"}, Asked: true,
		Found: sidecar.Found{Image: "old", Anything: true, Theirs: "u"},
		State: sidecar.State{Record: sidecar.Record{Settings: settings.Digest(), Image: "old", Theirs: "t"}},
	}
	g := NewWithT(t)
	g.Expect(sidecar.Decide(in).State.Theirs).To(Equal("u"))
	in.Found.Rolling, in.State.Image, in.Wanted.Unknown = true, "old", true
	g.Expect(sidecar.Decide(in).State.Theirs).To(Equal("t"), "the rollout can still bring the new image")
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
	_, ok = r.Restore(until.AddDate(-1, 0, 0))
	g.Expect(ok).To(BeTrue(), "times that lie a year ahead come from a clock that was wrong")
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
		"envFrom": func(c *corev1.Container) { c.EnvFrom = []corev1.EnvFromSource{{Prefix: "x"}} },
		"securityContext": func(c *corev1.Container) {
			c.SecurityContext = &corev1.SecurityContext{RunAsUser: new(int64(1))}
		},
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
