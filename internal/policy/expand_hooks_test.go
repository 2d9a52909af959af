package policy_test

import (
	"fmt"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/policy/policytest"
)

func hookNames(hooks []v1alpha1.HookInfo) []string {
	var out []string
	for _, h := range hooks {
		out = append(out, h.Name)
	}
	return out
}

func targetHooks(pre, post []string) *v1alpha1.TargetHooks {
	out := &v1alpha1.TargetHooks{}
	for _, name := range pre {
		out.PreBackup = append(out.PreBackup,
			v1alpha1.TargetHook{Name: name, HookTemplate: &v1alpha1.ObjectReference{Name: name}, MaxRetry: 2})
	}
	for _, name := range post {
		out.PostBackup = append(out.PostBackup,
			v1alpha1.TargetHook{
				Name: name, HookTemplate: &v1alpha1.ObjectReference{Name: name},
				ExecutionPolicy: v1alpha1.HookOnFailure,
			})
	}
	return out
}

// A child that runs alone keeps what the batch sets for its target: the hooks of the session and of the target, and the
// shorter timeout.
func TestExpandGivesAChildTheHooksAndTheTimeOfItsTarget(t *testing.T) {
	g := NewWithT(t)
	batch := policytest.BatchOf("web", "db")
	s := &batch.Spec.Sessions[0]
	s.Hooks = &v1alpha1.BackupHooks{
		PreBackup:  []v1alpha1.HookInfo{{Name: "pre"}},
		PostBackup: []v1alpha1.HookInfo{{Name: "post"}},
	}
	s.Targets[0].Hooks = targetHooks([]string{"freeze"}, []string{"thaw"})
	s.Targets[0].BackupTimeout = &metav1.Duration{Duration: time.Minute}
	s.Targets[1].BackupTimeout = &metav1.Duration{Duration: 24 * time.Hour}

	children, err := policy.Expand(batch, nil)

	g.Expect(err).NotTo(HaveOccurred())
	web, db := children[0].Spec.Sessions[0], children[1].Spec.Sessions[0]
	g.Expect(hookNames(web.Hooks.PreBackup)).To(Equal([]string{"pre", "freeze"}))
	g.Expect(hookNames(web.Hooks.PostBackup)).To(Equal([]string{"thaw", "post"}))
	g.Expect(web.Hooks.PreBackup[1].MaxRetry).To(Equal(int32(2)))
	g.Expect(web.Hooks.PostBackup[0].ExecutionPolicy).To(Equal(v1alpha1.HookOnFailure))
	g.Expect(web.BackupTimeout.Duration).To(Equal(time.Minute))
	g.Expect(hookNames(db.Hooks.PreBackup)).To(Equal([]string{"pre"}))
	g.Expect(db.BackupTimeout.Duration).To(Equal(30*time.Minute), "the timeout of the session is shorter")
	web.Hooks.PreBackup[1].HookTemplate.Name = "changed"
	g.Expect(s.Targets[0].Hooks.PreBackup[0].HookTemplate.Name).To(Equal("freeze"),
		"children share no memory with the batch")
}

func TestExpandRefusesHooksThatCannotBeToldApart(t *testing.T) {
	many := make([]string, policy.MaxHooks-7)
	for i := range many {
		many[i] = fmt.Sprintf("h%d", i)
	}
	for name, tt := range map[string]struct {
		session []string
		target  *v1alpha1.TargetHooks
		field   string
	}{
		"a name of the session": {
			[]string{"a"}, targetHooks([]string{"b", "a"}, nil), "spec.sessions[0].targets[0].hooks.preBackup[1].name",
		},
		"a name of the target": {
			nil, targetHooks(nil, []string{"a", "a"}), "spec.sessions[0].targets[0].hooks.postBackup[1].name",
		},
		"too many": {
			many, targetHooks([]string{"a", "b", "c", "d", "e", "f", "g", "i"}, nil),
			"spec.sessions[0].targets[0].hooks.preBackup",
		},
		"the same name before and after": {[]string{"a"}, targetHooks(nil, []string{"a"}), ""},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			batch := policytest.BatchOf("web")
			s := &batch.Spec.Sessions[0]
			s.Hooks = &v1alpha1.BackupHooks{}
			for _, name := range tt.session {
				s.Hooks.PreBackup = append(s.Hooks.PreBackup, v1alpha1.HookInfo{Name: name})
			}
			s.Targets[0].Hooks = tt.target
			mistakes := policy.BatchMistakes(batch, nil)
			if tt.field == "" {
				g.Expect(mistakes).To(BeEmpty())
				return
			}
			g.Expect(mistakes).To(ConsistOf(And(HaveField("Field", tt.field),
				HaveField("Reason", v1alpha1.ReasonInvalidHook))))
		})
	}
}
