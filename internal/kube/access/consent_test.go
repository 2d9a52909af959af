package access_test

import (
	"testing"

	. "github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/access"
)

// narrow makes a PolicySync that lets policy name only labelled Secrets.
func narrow(t *testing.T, namespace string) {
	t.Helper()
	NewWithT(t).Expect(bed.Client.Create(t.Context(), &v1alpha1.PolicySync{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "policy"},
		Spec: v1alpha1.PolicySyncSpec{
			URL: "https://git.example.com/policy.git", Prune: true, Secrets: v1alpha1.SecretsLabelled,
		},
	})).To(Succeed())
}

// label gives the consent of the owner of a Secret, or takes it away.
func label(t *testing.T, namespace, name string, consent bool) {
	t.Helper()
	g := NewWithT(t)
	var s corev1.Secret
	g.Expect(bed.Client.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: name}, &s)).To(Succeed())
	s.Labels = nil
	if consent {
		s.Labels = map[string]string{v1alpha1.LabelPolicyMayUse: "true"}
	}
	g.Expect(bed.Client.Update(t.Context(), &s)).To(Succeed())
}

// by returns labels of the PolicySync policy of a namespace.
func by(namespace string) map[string]string {
	return map[string]string{v1alpha1.LabelSyncNamespace: namespace, v1alpha1.LabelSyncName: "policy"}
}

// TestASecretWithoutItsLabelIsNotUsed takes the label from a Secret after the policy was applied.
func TestASecretWithoutItsLabelIsNotUsed(t *testing.T) {
	for name, tc := range map[string]struct {
		// from is the namespace of the PolicySync, "" for that of the Secrets.
		foreign bool
		lacks   string
	}{
		"the key of the storage":                        {lacks: "key"},
		"the password of the repository":                {lacks: "enc"},
		"of a storage that another namespace's applied": {foreign: true, lacks: "key"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, ns := NewWithT(t), namespace(t)
			storage, from := s3(t, ns, nil), ns
			if tc.foreign {
				from = namespace(t)
			}
			storage.Labels = by(from)
			secret(t, ns, "enc", map[string]string{"password": "p"})
			label(t, ns, "key", true)
			label(t, ns, "enc", true)
			narrow(t, from)
			run, encryption := owner(t, ns), v1alpha1.ObjectReference{Name: "enc"}
			_, err := access.EnsureCredentials(t.Context(), bed.Client, run, ns, storage, encryption, "job")
			g.Expect(err).NotTo(HaveOccurred())

			label(t, ns, tc.lacks, false)
			_, ensured := access.EnsureCredentials(t.Context(), bed.Client, run, ns, storage, encryption, "job")
			_, digested := access.Digest(t.Context(), bed.Client, ns, storage, encryption)
			_, read := access.ReadKeys(t.Context(), bed.Client, ns, storage, encryption)
			for _, err := range []error{ensured, digested, read} {
				reason, message, _ := access.ReasonOf(err)
				g.Expect(reason).To(Equal(v1alpha1.ReasonSecretNotLabelled))
				g.Expect(message).To(And(
					ContainSubstring("Secret "+ns+"/"+tc.lacks+" does not carry the label"),
					ContainSubstring("PolicySync "+from+"/policy says spec.secrets: Labelled"),
					HaveSuffix("run: kubectl label secret -n %s %s %s=true",
						ns, tc.lacks, v1alpha1.LabelPolicyMayUse)))
			}
			label(t, ns, tc.lacks, true)
			_, err = access.EnsureCredentials(t.Context(), bed.Client, run, ns, storage, encryption, "job")
			g.Expect(err).NotTo(HaveOccurred())
		})
	}
}

// TestEachSecretOfAJobIsAskedFor gives Jobs Secrets in each way that policy has: among them the copy of a storage's
// key, which a run makes in the namespace.
func TestEachSecretOfAJobIsAskedFor(t *testing.T) {
	volume := func(name, secret string) corev1.PodSpec {
		return corev1.PodSpec{Volumes: []corev1.Volume{{
			Name: name, VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: secret}},
		}}}
	}
	env := corev1.PodSpec{Containers: []corev1.Container{{Env: []corev1.EnvVar{{
		Name: "X", ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{
			LocalObjectReference: corev1.LocalObjectReference{Name: "copy"},
		}},
	}}}}}
	hook := map[string]string{v1alpha1.LabelHook: "hook"}
	for name, tc := range map[string]struct {
		pod    corev1.PodSpec
		labels map[string]string
		wide   bool // no PolicySync says Labelled
		may    bool
	}{
		"the copy where a mover has its credentials":    {pod: volume("credentials", "copy"), may: true},
		"the copy in a volume of that name of a hook":   {pod: volume("credentials", "copy"), labels: hook},
		"the copy in a variable":                        {pod: env},
		"a Secret of the application":                   {pod: volume("database", "payroll")},
		"a Secret that does not exist yet":              {pod: volume("database", "later")},
		"a labelled Secret":                             {pod: volume("database", "db"), may: true},
		"a Secret of the application, without the rule": {pod: volume("database", "payroll"), wide: true, may: true},
		"a Job without Secrets":                         {may: true},
		"the copy of a second password of a keeper":     {pod: volume("encryption-1", "copy"), may: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, ns := NewWithT(t), namespace(t)
			for _, s := range []string{"copy", "payroll", "db"} {
				secret(t, ns, s, map[string]string{"password": "p"})
			}
			label(t, ns, "db", true)
			if !tc.wide {
				narrow(t, ns)
			}
			job := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Namespace: ns}}
			job.Spec.Template = corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: tc.labels}, Spec: tc.pod}
			err := access.MayRun(t.Context(), bed.Client, bed.Client, owner(t, ns), job)
			if tc.may {
				g.Expect(err).NotTo(HaveOccurred())
				return
			}
			reason, _, _ := access.ReasonOf(err)
			g.Expect(reason).To(Equal(v1alpha1.ReasonSecretNotLabelled))
		})
	}
}

// TestARunOfAnotherNamespacesPolicyAsksForLabels gives a run policy that a PolicySync of another namespace has applied.
func TestARunOfAnotherNamespacesPolicyAsksForLabels(t *testing.T) {
	g, ns, from := NewWithT(t), namespace(t), namespace(t)
	narrow(t, from)
	secret(t, ns, "payroll", map[string]string{"password": "p"})
	run := owner(t, ns)
	job := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Namespace: ns}}
	job.Spec.Template.Spec.Volumes = []corev1.Volume{{
		Name: "database", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "payroll"}},
	}}
	g.Expect(access.MayRun(t.Context(), bed.Client, bed.Client, run, job)).To(Succeed())
	run.Status.Resolved = &v1alpha1.ResolvedBackup{
		Policy: v1alpha1.ResolvedPolicy{Source: "PolicySync/" + from + "/policy"},
	}
	reason, _, _ := access.ReasonOf(access.MayRun(t.Context(), bed.Client, bed.Client, run, job))
	g.Expect(reason).To(Equal(v1alpha1.ReasonSecretNotLabelled))
}
