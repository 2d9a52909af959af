package ledger

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
)

// tenant is somebody who has the shipped role cairn-edit in a namespace of his own, and nothing else. He has a Git
// repository of his own, too.
type tenant struct {
	client.Client
	w         *world
	namespace string
	repo      string // his repository, on the server of the world
}

func (w *world) tenant() *tenant {
	w.t.Helper()
	name := "tenant-" + rand.String(6)
	w.others = append(w.others, name)
	t := &tenant{w: w, namespace: name, repo: name + ".git"}
	dir := filepath.Join(filepath.Dir(w.repo), t.repo)
	if out, err := exec.Command("git", "init", "-q", "--bare", dir).CombinedOutput(); err != nil {
		w.t.Fatalf("%v: %s", err, out)
	}
	w.create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}})
	w.create(&corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: name, Name: "git"},
		StringData: map[string]string{"username": gitUser, "password": gitPassword},
	})
	w.create(&rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: name, Name: "edit"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "cairn-edit"},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: name}},
	})
	config := rest.CopyConfig(bed.Config)
	config.Impersonate = rest.ImpersonationConfig{UserName: name, Groups: []string{"system:authenticated"}}
	var err error
	if t.Client, err = client.New(config, client.Options{Scheme: bed.Client.Scheme()}); err != nil {
		w.t.Fatal(err)
	}
	return t
}

func (t *tenant) url() string { return t.w.HTTPAddress() + "/" + t.repo }

// ledger makes a Ledger of the tenant, with his own rights.
func (t *tenant) ledger(name string, change ...func(*v1alpha1.Ledger)) (*v1alpha1.Ledger, error) {
	l := &v1alpha1.Ledger{
		ObjectMeta: metav1.ObjectMeta{Namespace: t.namespace, Name: name},
		Spec: v1alpha1.LedgerSpec{
			URL: t.url(), ClusterName: "production", SecretRef: &v1alpha1.LocalObjectReference{Name: "git"},
			BatchWindow: metav1.Duration{Duration: 10 * time.Second},
			Interval:    metav1.Duration{Duration: 10 * time.Minute},
			Author:      v1alpha1.CommitAuthor{Name: "Cairn", Email: "cairn@localhost"},
		},
	}
	for _, c := range change {
		c(l)
	}
	return l, t.Create(t.w.t.Context(), l)
}

// git runs a command in the tenant's repository.
func (t *tenant) git(args ...string) string {
	t.w.t.Helper()
	dir := filepath.Join(filepath.Dir(t.w.repo), t.repo)
	out, err := exec.Command("git", append([]string{"-C", dir}, args...)...).CombinedOutput()
	if err != nil {
		t.w.t.Fatalf("git %v: %v: %s", args, err, out)
	}
	return string(out)
}

// reads returns all that the branch of the tenant's repository says: its files, names and messages.
func (t *tenant) reads() string {
	dir := filepath.Join(filepath.Dir(t.w.repo), t.repo)
	out, _ := exec.Command("git", "-C", dir, "log", "-p", "--format=%B", branch).CombinedOutput()
	return string(out)
}

// work lets both controllers run for three minutes.
func (w *world) work(ledgers ...*v1alpha1.Ledger) {
	w.t.Helper()
	for range 9 {
		w.pass(20 * time.Second)
		if _, err := w.collect(); err != nil {
			w.t.Fatal(err)
		}
		for _, l := range ledgers {
			if _, err := w.push(l); err != nil {
				w.t.Fatal(err)
			}
		}
	}
}

// The tenant makes a Ledger that selects all namespaces, or that of the victim. He gets no name, error or page.
func TestATenantsLedgerRecordsNoOtherNamespace(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*world, *v1alpha1.Ledger){
		"without a selector": func(*world, *v1alpha1.Ledger) {},
		"with one for all": func(_ *world, l *v1alpha1.Ledger) {
			l.Spec.NamespaceSelector = &metav1.LabelSelector{}
		},
		"with one for a victim": func(w *world, l *v1alpha1.Ledger) { l.Spec.NamespaceSelector = named(w.namespace) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, w := NewWithT(t), newWorld(t)
			w.nightly("diary")
			s := w.session("secret-project", func(s *v1alpha1.BackupSession) {
				s.Status.Phase, s.Status.Reason = v1alpha1.BackupSessionFailed, "JobFailed"
				s.Status.Resolved.Policy.Revision = "main@sha1:feedfacefeedfacefeedfacefeedfacefeedface"
			})
			tenant := w.tenant()
			l, err := tenant.ledger("spy", func(l *v1alpha1.Ledger) { change(w, l) })
			g.Expect(err).NotTo(HaveOccurred())
			w.work(l)
			stolen := tenant.reads()
			for _, word := range []string{w.namespace, "secret-project", "diary", "feedface", "JobFailed"} {
				g.Expect(stolen).NotTo(ContainSubstring(word))
			}
			g.Expect(stolen).To(ContainSubstring("STATUS.md"), "the Ledger works")
			g.Expect(get(w, s).Finalizers).To(BeEmpty(), "nobody records it: it waits for nobody")
			g.Expect(s.Status.Records).To(BeEmpty())
			get(w, l)
			for _, c := range l.Status.Conditions {
				g.Expect(c.Message).NotTo(ContainSubstring(w.namespace))
			}
		})
	}
}

// named selects a Namespace by its name.
func named(namespace string) *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: namespace}}
}

// The tenant makes a Ledger whose selector can't be read. What ends elsewhere does not wait for it.
func TestAnUnreadableSelectorOfATenantHoldsUpNobody(t *testing.T) {
	t.Parallel()
	g, w := NewWithT(t), newWorld(t)
	tenant := w.tenant()
	l, err := tenant.ledger("wrong", func(l *v1alpha1.Ledger) {
		l.Spec.NamespaceSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"a b": ""}}
	})
	g.Expect(err).NotTo(HaveOccurred(), "the API server takes it")
	s := w.session("ended")
	w.work(l)
	g.Expect(get(w, s).Finalizers).To(BeEmpty())
}

// The administrators record the cluster, and their slip costs no record.
func TestAnUnreadableSelectorOfTheAdministratorsLosesNoRecord(t *testing.T) {
	t.Parallel()
	for name, slip := range map[string]func(*v1alpha1.Ledger, *metav1.LabelSelector){
		"selector":          func(l *v1alpha1.Ledger, s *metav1.LabelSelector) { l.Spec.Selector = s },
		"namespaceSelector": func(l *v1alpha1.Ledger, s *metav1.LabelSelector) { l.Spec.NamespaceSelector = s },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, w := NewWithT(t), newWorld(t)
			admin := w.tenant()
			w.collector.Administrators = policy.Administrators{admin.namespace}
			w.reconciler.Administrators = w.collector.Administrators
			l, err := admin.ledger("audit", func(l *v1alpha1.Ledger) {
				slip(l, &metav1.LabelSelector{MatchLabels: map[string]string{"a b": ""}})
			})
			g.Expect(err).NotTo(HaveOccurred(), "the API server takes it")
			s := w.session("ended")
			w.work(l)
			g.Expect(get(w, s).Finalizers).To(ContainElement(v1alpha1.FinalizerRecord), "it waits")
			bed.Edit(t, l, func() { slip(l, nil) })
			w.work(l)
			g.Expect(get(w, s).Status.Records).To(ConsistOf(HaveField("Ledger", admin.namespace+"/audit")))
		})
	}
}

// The API server refuses the mistakes in a selector that it can judge when the selector is written.
func TestTheAPIServerRefusesAnUnreadableSelector(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	tenant := w.tenant()
	expression := func(key, operator string, values ...string) *metav1.LabelSelector {
		return &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{
			{Key: "a", Operator: metav1.LabelSelectorOpExists},
			{Key: key, Operator: metav1.LabelSelectorOperator(operator), Values: values},
		}}
	}
	for name, tt := range map[string]struct {
		selector *metav1.LabelSelector
		says     string
	}{
		"an operator that does not exist": {
			expression("team", "Near"), "the operator must be In, NotIn, Exists or DoesNotExist",
		},
		"In without values":        {expression("team", "In"), "In and NotIn need values"},
		"NotIn without values":     {expression("team", "NotIn"), "In and NotIn need values"},
		"Exists with values":       {expression("team", "Exists", "a"), "Exists and DoesNotExist take none"},
		"no key":                   {expression("", "Exists"), "a key has 1 to 317 characters"},
		"a key that is too long":   {expression(strings.Repeat("a", 318), "Exists"), "a key has 1 to 317 characters"},
		"a label without a key":    {&metav1.LabelSelector{MatchLabels: map[string]string{"": "a"}}, "1 to 317"},
		"nothing is wrong with it": {expression("example.com/team", "NotIn", "a", ""), ""},
	} {
		for field, set := range map[string]func(*v1alpha1.Ledger){
			"selector":          func(l *v1alpha1.Ledger) { l.Spec.Selector = tt.selector },
			"namespaceSelector": func(l *v1alpha1.Ledger) { l.Spec.NamespaceSelector = tt.selector },
		} {
			t.Run(name+" in "+field, func(t *testing.T) {
				g := NewWithT(t)
				_, err := tenant.ledger("l-"+rand.String(6), set)
				if tt.says == "" {
					g.Expect(err).NotTo(HaveOccurred())
					return
				}
				g.Expect(err).To(MatchError(And(ContainSubstring("spec."+field), ContainSubstring(tt.says))))
				g.Expect(apierrors.IsInvalid(err)).To(BeTrue())
			})
		}
	}
}

// The tenant makes a PolicySync on the branch of somebody else's Ledger. The Ledger goes on.
func TestATenantsPolicySyncSilencesNoLedger(t *testing.T) {
	t.Parallel()
	for name, spelled := range map[string]func(w *world) string{
		"as the Ledger spells it": (*world).url,
		"spelled in another way": func(w *world) string {
			return strings.Replace(w.HTTPAddress(), "http://", "https://", 1) + "//REPO.git/"
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, w := NewWithT(t), newWorld(t)
			l := w.ledger("ledger")
			w.session("before")
			w.settle(l)
			tenant := w.tenant()
			g.Expect(tenant.Create(t.Context(), &v1alpha1.PolicySync{
				ObjectMeta: metav1.ObjectMeta{Namespace: tenant.namespace, Name: "silence"},
				Spec: v1alpha1.PolicySyncSpec{
					URL: spelled(w), Ref: &v1alpha1.GitRef{Branch: branch}, Prune: true,
				},
			})).To(Succeed())
			tip := w.tip()
			s := w.session("after")
			w.work(l)
			g.Expect(ready(get(w, l)).Message).NotTo(ContainSubstring("PolicySync"))
			g.Expect(l).To(beReady(metav1.ConditionTrue, v1alpha1.ReasonPushed))
			g.Expect(w.tip()).NotTo(Equal(tip))
			g.Expect(get(w, s).Status.Records).To(HaveLen(1))
		})
	}
}

// The tenant makes hundreds of Ledgers. A few are served; the API server and the Collector work for no more.
func TestATenantHasAFewLedgers(t *testing.T) {
	t.Parallel()
	g, w := NewWithT(t), newWorld(t)
	tenant := w.tenant()
	var ledgers []*v1alpha1.Ledger
	for range 6 {
		l, err := tenant.ledger("l-" + rand.String(6))
		g.Expect(err).NotTo(HaveOccurred())
		ledgers = append(ledgers, l)
	}
	w.session("of-tenant", func(s *v1alpha1.BackupSession) { s.Namespace = tenant.namespace })
	w.pass(11 * time.Second)
	g.Expect(w.collect()).Error().NotTo(HaveOccurred())
	var outboxes corev1.ConfigMapList
	g.Expect(bed.Client.List(t.Context(), &outboxes, client.InNamespace(tenant.namespace),
		client.HasLabels{v1alpha1.LabelLedger})).To(Succeed())
	g.Expect(outboxes.Items).To(HaveLen(4))
	var stalled int
	for _, l := range ledgers {
		g.Expect(w.push(l)).Error().NotTo(HaveOccurred())
		if c := ready(get(w, l)); c != nil && c.Reason == "TooManyLedgers" {
			stalled++
			g.Expect(c.Message).To(ContainSubstring("4"))
		}
	}
	g.Expect(stalled).To(Equal(2))
}
