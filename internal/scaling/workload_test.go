package scaling

import (
	"slices"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"github.com/onsi/gomega/types"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	k8stypes "k8s.io/apimachinery/pkg/types"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/workload"
)

func TestWorkloadOf(t *testing.T) {
	meta := metav1.ObjectMeta{UID: "u", Generation: 2}
	selector := &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}
	template := corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "web", "tier": "front"}},
	}
	claims := []corev1.PersistentVolumeClaim{{}}
	whenScaled := &appsv1.StatefulSetPersistentVolumeClaimRetentionPolicy{
		WhenScaled: appsv1.DeletePersistentVolumeClaimRetentionPolicyType,
	}
	for name, tt := range map[string]struct {
		object metav1.Object
		want   Workload
	}{
		"a Deployment that its controller has not seen": {
			&appsv1.Deployment{
				ObjectMeta: meta,
				Spec: appsv1.DeploymentSpec{
					Replicas: new(int32(0)), Selector: selector, Template: template,
				},
				Status: appsv1.DeploymentStatus{ObservedGeneration: 1},
			},
			Workload{UID: "u", Generation: 2, PodLabels: template.Labels},
		},
		"a Deployment with more pods than it wants": {
			&appsv1.Deployment{
				ObjectMeta: meta, Spec: appsv1.DeploymentSpec{Replicas: new(int32(0)), Selector: selector},
				Status: appsv1.DeploymentStatus{ObservedGeneration: 2, Replicas: 1},
			},
			Workload{UID: "u", Generation: 2},
		},
		"a StatefulSet without replicas in its spec": {
			&appsv1.StatefulSet{
				ObjectMeta: meta, Spec: appsv1.StatefulSetSpec{Selector: selector, Template: template},
				Status: appsv1.StatefulSetStatus{ObservedGeneration: 2, Replicas: 1},
			},
			Workload{
				UID: "u", Generation: 2, Replicas: 1, PodLabels: template.Labels, Settled: true,
			},
		},
		"a StatefulSet that loses its claims with its pods": {
			&appsv1.StatefulSet{ObjectMeta: meta, Spec: appsv1.StatefulSetSpec{
				Selector: selector, VolumeClaimTemplates: claims, PersistentVolumeClaimRetentionPolicy: whenScaled,
			}},
			Workload{UID: "u", Generation: 2, Replicas: 1, DeletesClaims: true},
		},
		"a StatefulSet without claims": {
			&appsv1.StatefulSet{ObjectMeta: meta, Spec: appsv1.StatefulSetSpec{
				Selector: selector, PersistentVolumeClaimRetentionPolicy: whenScaled,
			}},
			Workload{UID: "u", Generation: 2, Replicas: 1},
		},
		"a StatefulSet that keeps its claims until it is deleted": {
			&appsv1.StatefulSet{ObjectMeta: meta, Spec: appsv1.StatefulSetSpec{
				Selector: selector, VolumeClaimTemplates: claims,
				PersistentVolumeClaimRetentionPolicy: &appsv1.StatefulSetPersistentVolumeClaimRetentionPolicy{
					WhenDeleted: appsv1.DeletePersistentVolumeClaimRetentionPolicyType,
					WhenScaled:  appsv1.RetainPersistentVolumeClaimRetentionPolicyType,
				},
			}},
			Workload{UID: "u", Generation: 2, Replicas: 1},
		},
	} {
		t.Run(name, func(t *testing.T) {
			tt.want.Selection = workload.SelectionOf(tt.object)
			NewWithT(t).Expect(WorkloadOf(tt.object)).To(Equal(tt.want))
		})
	}
}

func TestTheScaleDownWaitsForPods(t *testing.T) {
	labels := map[string]string{"app": "web"}
	w := WorkloadOf(&appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec:       appsv1.DeploymentSpec{Selector: &metav1.LabelSelector{MatchLabels: labels}},
	})
	pod := func(edit ...func(*corev1.Pod)) corev1.Pod {
		p := corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "web-1", Labels: labels}}
		for _, e := range edit {
			e(&p)
		}
		return p
	}
	phase := func(phase corev1.PodPhase) func(*corev1.Pod) {
		return func(p *corev1.Pod) { p.Status.Phase = phase }
	}
	ofJob := func(p *corev1.Pod) {
		p.OwnerReferences = []metav1.OwnerReference{
			{APIVersion: "batch/v1", Kind: "Job", Name: "web-cron", Controller: new(true)},
		}
	}
	claim := func(p *corev1.Pod) {
		p.Spec.Volumes = []corev1.Volume{{Name: "data", VolumeSource: corev1.VolumeSource{
			PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "data"},
		}}}
	}
	for name, tt := range map[string]struct {
		pod  corev1.Pod
		want int
	}{
		"a new pod":                      {pod(), 1},
		"one that starts":                {pod(phase(corev1.PodPending)), 1},
		"one that runs":                  {pod(phase(corev1.PodRunning)), 1},
		"one whose node is lost":         {pod(phase(corev1.PodUnknown)), 1},
		"one that has ended":             {pod(phase(corev1.PodSucceeded)), 0},
		"one that has failed":            {pod(phase(corev1.PodFailed)), 0},
		"one of a CronJob":               {pod(ofJob), 0},
		"one of a CronJob with a volume": {pod(ofJob, claim), 1},
		"that one has ended":             {pod(ofJob, claim, phase(corev1.PodSucceeded)), 0},
	} {
		t.Run(name, func(t *testing.T) {
			NewWithT(t).Expect(w.Running([]corev1.Pod{tt.pod})).To(Equal(tt.want))
		})
	}
}

func TestReady(t *testing.T) {
	labels := map[string]string{"app": "web"}
	w := WorkloadOf(&appsv1.Deployment{
		Spec: appsv1.DeploymentSpec{Selector: &metav1.LabelSelector{MatchLabels: labels}},
	})
	pod := func(phase corev1.PodPhase, ready corev1.ConditionStatus) corev1.Pod {
		return corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "web-0", Labels: labels}, Status: corev1.PodStatus{
			Phase: phase, Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: ready}},
		}}
	}
	ready := pod(corev1.PodRunning, corev1.ConditionTrue)
	another := *ready.DeepCopy()
	another.Name = "web-1"
	terminates := *ready.DeepCopy()
	terminates.DeletionTimestamp = &metav1.Time{}
	ofJob := *ready.DeepCopy()
	ofJob.OwnerReferences = []metav1.OwnerReference{
		{APIVersion: "batch/v1", Kind: "Job", Name: "web-cron", Controller: new(true)},
	}
	NewWithT(t).Expect(w.Ready([]corev1.Pod{
		ofJob,
		{},
		pod(corev1.PodRunning, corev1.ConditionFalse), ready, terminates,
		pod(corev1.PodSucceeded, corev1.ConditionTrue), another,
	})).To(Equal([]string{"web-0", "web-1"}))
}

func TestFreeze(t *testing.T) {
	g := NewWithT(t)
	w := Workload{UID: "u", Generation: 7, Replicas: 2}
	asked := v1alpha1.ScaleDown{Kind: "Deployment", Name: "web"}
	frozen := v1alpha1.ScaledWorkload{
		Kind: "Deployment", Name: "web", UID: "u", Generation: 7, Before: 2, Replicas: 2, Phase: v1alpha1.ScalePending,
	}
	g.Expect(Freeze(asked, w, nil)).To(Equal(frozen))
	asked.Replicas, frozen.Replicas = new(int32(0)), 0
	g.Expect(Freeze(asked, w, nil)).To(Equal(frozen), "the batch asks for another number")

	w.Replicas = 0
	left := &v1alpha1.ScaledWorkload{Replicas: 3}
	asked.Replicas, frozen.Replicas, frozen.Before = nil, 3, 0
	g.Expect(Freeze(asked, w, left)).To(Equal(frozen), "another batch left it down")
	asked.Replicas, frozen.Replicas = new(int32(1)), 1
	g.Expect(Freeze(asked, w, left)).To(Equal(frozen), "the batch asks for another number")
}

func TestMayBeTaken(t *testing.T) {
	for name, tt := range map[string]struct {
		is   Workload
		want bool
	}{
		"nobody has changed it":         {Workload{Generation: 7, Replicas: 2}, false},
		"somebody has changed it":       {Workload{Generation: 8, Replicas: 2}, true},
		"Cairn has scaled it down":      {Workload{Generation: 8}, false},
		"it had no replicas beforehand": {Workload{Generation: 7}, false},
	} {
		t.Run(name, func(t *testing.T) {
			NewWithT(t).Expect(MayBeTaken(&v1alpha1.ScaledWorkload{Generation: 7}, tt.is)).To(Equal(tt.want))
		})
	}
}

func TestLeftDown(t *testing.T) {
	at := time.Unix(0, 0)
	batch := func(phase v1alpha1.RestoreSessionPhase, scaled ...v1alpha1.ScaledWorkload) v1alpha1.RestoreBatch {
		at = at.Add(time.Minute)
		return v1alpha1.RestoreBatch{
			ObjectMeta: metav1.ObjectMeta{CreationTimestamp: metav1.NewTime(at)},
			Status:     v1alpha1.RestoreBatchStatus{Phase: phase, ScaledDown: scaled},
		}
	}
	const failed = v1alpha1.RestoreSessionFailed
	batches := []v1alpha1.RestoreBatch{
		{},
		batch(failed, v1alpha1.ScaledWorkload{UID: "u", Generation: 7, Replicas: 2}),
		batch(failed, v1alpha1.ScaledWorkload{UID: "other", Generation: 7, Replicas: 4},
			v1alpha1.ScaledWorkload{UID: "u", Generation: 7, Replicas: 3}),
		batch(failed, v1alpha1.ScaledWorkload{UID: "u", Generation: 7}),
		batch(v1alpha1.RestoreSessionRunning, v1alpha1.ScaledWorkload{UID: "u", Generation: 7, Replicas: 5}),
		batch(failed, v1alpha1.ScaledWorkload{UID: "none", Generation: 7}),
	}
	for name, tt := range map[string]struct {
		is   Workload
		want types.GomegaMatcher
	}{
		"as the batch left it":  {Workload{UID: "u", Generation: 7}, HaveField("Replicas", int32(3))},
		"nobody knows how many": {Workload{UID: "none", Generation: 7}, HaveField("Replicas", int32(0))},
		"changed since":         {Workload{UID: "u", Generation: 8}, BeNil()},
		"it has replicas":       {Workload{UID: "u", Generation: 7, Replicas: 1}, BeNil()},
		"another of this name":  {Workload{UID: "v", Generation: 7}, BeNil()},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			g.Expect(LeftDown(batches, tt.is)).To(tt.want)
			slices.Reverse(batches)
			g.Expect(LeftDown(batches, tt.is)).To(tt.want, "in any order")
		})
	}
}

// Who restores only a part of what is half restored does not start the application on the rest.
func TestInherited(t *testing.T) {
	target := func(name string, phase v1alpha1.RestoreSessionPhase) v1alpha1.RestoreTargetStatus {
		return v1alpha1.RestoreTargetStatus{Name: name, Phase: phase}
	}
	left := v1alpha1.RestoreBatch{}
	left.Spec.DataSource.BackupBatch = "shop"
	left.Status = v1alpha1.RestoreBatchStatus{
		Phase:      v1alpha1.RestoreSessionFailed,
		ScaledDown: []v1alpha1.ScaledWorkload{{UID: "u", Generation: 7, Replicas: 3}},
		Targets: []v1alpha1.RestoreTargetStatus{
			target("files", v1alpha1.RestoreSessionFailed), target("media", v1alpha1.RestoreSessionFailed),
			target("db", v1alpha1.RestoreSessionSucceeded), target("cache", v1alpha1.RestoreSessionSkipped),
		},
	}
	for name, tt := range map[string]struct {
		of      string
		targets []string
		want    types.GomegaMatcher
	}{
		"all that failed":                {"shop", []string{"media", "files"}, HaveField("Replicas", int32(3))},
		"a part of it":                   {"shop", []string{"files", "db"}, BeNil()},
		"targets of another BackupBatch": {"blog", []string{"media", "files"}, BeNil()},
	} {
		t.Run(name, func(t *testing.T) {
			b := &v1alpha1.RestoreBatch{}
			b.Spec.DataSource.BackupBatch = tt.of
			for _, name := range tt.targets {
				b.Spec.Targets = append(b.Spec.Targets, v1alpha1.RestoreBatchTarget{Name: name})
			}
			got := Inherited([]v1alpha1.RestoreBatch{left}, Workload{UID: "u", Generation: 7}, b)
			NewWithT(t).Expect(got).To(tt.want)
		})
	}
}

func TestHeldBy(t *testing.T) {
	batch := func(uid string, phase v1alpha1.RestoreSessionPhase, scaled v1alpha1.ScalePhase) v1alpha1.RestoreBatch {
		b := v1alpha1.RestoreBatch{ObjectMeta: metav1.ObjectMeta{UID: k8stypes.UID(uid)}}
		b.Status.Phase = phase
		b.Status.ScaledDown = []v1alpha1.ScaledWorkload{{UID: "u", Phase: scaled}}
		return b
	}
	const running, ended = v1alpha1.RestoreSessionRunning, v1alpha1.RestoreSessionFailed
	asked := v1alpha1.ScaleDown{Kind: v1alpha1.KindDeployment, Name: "web"}
	waiting := func(uid string, made int64, of string) v1alpha1.RestoreBatch {
		b := v1alpha1.RestoreBatch{ObjectMeta: metav1.ObjectMeta{
			UID: k8stypes.UID(uid), CreationTimestamp: metav1.Unix(made, 0),
		}}
		b.Spec.ScaleDown = []v1alpha1.ScaleDown{{Kind: v1alpha1.KindDeployment, Name: of}}
		return b
	}
	self := waiting("self", 100, "web")
	for name, tt := range map[string]struct {
		batch v1alpha1.RestoreBatch
		want  bool
	}{
		"it is older and will ask for it":     {waiting("zzz", 99, "web"), true},
		"it is younger and will ask for it":   {waiting("aaa", 101, "web"), false},
		"of the same second, the smaller UID": {waiting("aaa", 100, "web"), true},
		"of the same second, the greater UID": {waiting("zzz", 100, "web"), false},
		"it will ask for another one":         {waiting("zzz", 99, "db"), false},
		"it will scale it down":               {batch("other", running, v1alpha1.ScalePending), true},
		"it has it down":                      {batch("other", running, v1alpha1.ScaleDownDone), true},
		"it will scale it up":                 {batch("other", running, v1alpha1.ScalingUp), true},
		"it has scaled it up":                 {batch("other", running, v1alpha1.ScaleUpDone), false},
		"it has left it down":                 {batch("other", running, v1alpha1.ScaleLeft), false},
		"it has ended":                        {batch("other", ended, v1alpha1.ScalePending), false},
		"it is this RestoreBatch":             {batch("self", running, v1alpha1.ScalePending), false},
		"it has not chosen its backup":        {v1alpha1.RestoreBatch{}, false},
	} {
		t.Run(name, func(t *testing.T) {
			NewWithT(t).Expect(HeldBy([]v1alpha1.RestoreBatch{tt.batch}, asked, "u", &self) != nil).To(Equal(tt.want))
		})
	}
}
