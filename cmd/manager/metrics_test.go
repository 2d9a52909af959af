package main

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/internal/testbed"
)

// tokenOf makes a ServiceAccount that has some ClusterRoles, and returns a token for it.
func tokenOf(t testing.TB, account string, roles ...string) string {
	t.Helper()
	g := NewWithT(t)
	sa := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: account}}
	g.Expect(bed.Client.Create(t.Context(), sa)).To(Succeed())
	for _, role := range roles {
		g.Expect(bed.Client.Create(t.Context(), &rbacv1.ClusterRoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: account + "-" + role},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
			Subjects:   []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: sa.Namespace, Name: sa.Name}},
		})).To(Succeed())
	}
	token := &authenticationv1.TokenRequest{}
	g.Expect(bed.Client.SubResource("token").Create(t.Context(), sa, token)).To(Succeed())
	return token.Status.Token
}

// readsAll returns a token of somebody who can read the metrics and the profiles.
func readsAll(t testing.TB) string {
	t.Helper()
	const role = "reads-profiles"
	r := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: role}}
	r.Rules = []rbacv1.PolicyRule{{
		NonResourceURLs: []string{"/metrics", "/debug/pprof/*"}, Verbs: []string{"get"},
	}}
	if err := bed.Client.Create(t.Context(), r); !apierrors.IsAlreadyExists(err) {
		NewWithT(t).Expect(err).NotTo(HaveOccurred())
	}
	return tokenOf(t, "reads-all-"+strings.ToLower(rand.Text()), role)
}

// page asks the manager for a page of its metrics address.
func (p *process) page(ctx context.Context, scheme, path, token string) (code int, body string, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+"://"+p.metrics+path, nil)
	if err != nil {
		return 0, "", err
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := insecure().Do(request)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = response.Body.Close() }()
	content, err := io.ReadAll(response.Body)
	return response.StatusCode, string(content), err
}

// insecure returns a client that accepts the manager's own certificate.
var insecure = sync.OnceValue(func() *http.Client {
	return &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
})

// metricsDoors tries who can read the metrics, and the profiles, which hold what is in the manager's memory.
func metricsDoors(t *testing.T) {
	p := begin(t, kubeconfig(t, false), "--enable-leader-election")
	g := NewWithT(t)
	g.Eventually(func() (string, error) { return p.get(t.Context(), p.health, "/readyz") }, testbed.Patience, "100ms").
		Should(ContainSubstring("ok"), "the health checks need no token")
	g.Eventually(func() error {
		_, _, err := p.page(t.Context(), "https", "/metrics", "")
		return err
	}, testbed.Patience, "100ms").Should(Succeed(), "the metrics are served a moment later")
	nobody, reader := tokenOf(t, "nobody"), tokenOf(t, "reader", "cairn-metrics-reader")
	for title, tt := range map[string]struct {
		path, token string
		want        int
	}{
		"the metrics, without a token":         {"/metrics", "", http.StatusUnauthorized},
		"the metrics, with a wrong token":      {"/metrics", "wrong", http.StatusUnauthorized},
		"the metrics, without the right":       {"/metrics", nobody, http.StatusForbidden},
		"the metrics, with the shipped role":   {"/metrics", reader, http.StatusOK},
		"the profiles, without a token":        {"/debug/pprof/heap", "", http.StatusUnauthorized},
		"the profiles, with the shipped role":  {"/debug/pprof/heap", reader, http.StatusForbidden},
		"the arguments, without a token":       {"/debug/pprof/cmdline", "", http.StatusUnauthorized},
		"the arguments, with the shipped role": {"/debug/pprof/cmdline", reader, http.StatusForbidden},
	} {
		t.Run(title, func(t *testing.T) {
			g := NewWithT(t)
			// The server answers 400 and can close the connection before the client has read it.
			code, _, err := p.page(t.Context(), "http", tt.path, tt.token)
			g.Expect(code).To(Equal(http.StatusBadRequest), "there is no plain HTTP: %v", err)
			code, body, err := p.page(t.Context(), "https", tt.path, tt.token)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(code).To(Equal(tt.want), body)
			g.Expect(strings.Contains(body, "go_memstats")).To(Equal(tt.want == http.StatusOK))
			g.Expect(tt.token == "" || !strings.Contains(body, tt.token)).To(BeTrue())
		})
	}
	g.Expect(p.end(t)).To(Equal(0))
}

// plainMetrics checks what --metrics-secure=false serves: metrics to everybody, and no profiles to anybody.
func plainMetrics(t *testing.T) {
	g := NewWithT(t)
	p := begin(t, kubeconfig(t, false), "--enable-leader-election", "--metrics-secure=false")
	g.Eventually(func() (string, error) {
		_, body, err := p.page(t.Context(), "http", "/metrics", "")
		return body, err
	}, testbed.Patience, 100*time.Millisecond).Should(ContainSubstring("go_memstats"))
	for _, path := range []string{"/debug/pprof/", "/debug/pprof/heap", "/debug/pprof/cmdline"} {
		code, _, err := p.page(t.Context(), "http", path, "")
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(code).To(Equal(http.StatusNotFound), path)
	}
	g.Expect(p.end(t)).To(Equal(0))
}
