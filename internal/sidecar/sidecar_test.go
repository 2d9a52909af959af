package sidecar_test

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/sidecar"
	"github.com/cairn-backup/cairn/internal/task"
)

func TestNamesAreLabelsAndNeverShared(t *testing.T) {
	g := NewWithT(t)
	g.Expect(sidecar.Name("StatefulSet", "db")).To(Equal("cairn-sidecar-statefulset-db"))
	seen := map[string]string{}
	for _, kind := range []string{v1alpha1.KindDeployment, v1alpha1.KindStatefulSet, v1alpha1.KindDaemonSet} {
		for _, name := range []string{
			"a", "a.b", "a-b", strings.Repeat("x", 60) + "a", strings.Repeat("x", 60) + "b",
			strings.Repeat("x.", 100) + "y",
		} {
			id := sidecar.Name(kind, name)
			g.Expect(validation.IsDNS1123Subdomain(id)).To(BeEmpty(), id)
			g.Expect(validation.IsValidLabelValue(id)).To(BeEmpty(), id)
			g.Expect(seen).NotTo(HaveKey(id), "%s %s", kind, name)
			seen[id] = kind + " " + name
		}
	}
}

func TestKeysOfRepositoriesAreKeptApart(t *testing.T) {
	g := NewWithT(t)
	a, b := sidecar.KeysOf("shop", "web"), sidecar.KeysOf("shop", "db")
	g.Expect(string(a)).To(MatchRegexp("^[0-9a-f]{10}$"))
	g.Expect(a).NotTo(Equal(b))
	for _, key := range []string{a.Storage("AWS_ACCESS_KEY_ID"), a.Encryption("RESTIC_PASSWORD"), a.Version()} {
		g.Expect(validation.IsConfigMapKey(key)).To(BeEmpty())
		g.Expect(a.Of(key)).To(BeTrue())
		g.Expect(b.Of(key)).To(BeFalse())
	}
	g.Expect(a.Of(sidecar.KeyToken)).To(BeFalse())
}

func token(claims string) string {
	return "head." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + ".secret"
}

func TestReadToken(t *testing.T) {
	g := NewWithT(t)
	got, err := sidecar.ReadToken(token(`{"jti":"7f6f","iat":100,"exp":3700}`) + "\n")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(got).To(Equal(sidecar.Token{
		Credential: "JTI=7f6f", IssuedAt: time.Unix(100, 0),
		Expires: time.Unix(3700, 0),
	}))
	for name, bad := range map[string]string{
		"nothing":               "",
		"two parts":             "a.b",
		"not base64":            "head.!!!.secret",
		"not JSON":              token("xx"),
		"no identity":           token(`{"iat":100}`),
		"two identities in one": token(`{"jti":"a,JTI=b"}`),
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			_, err := sidecar.ReadToken(bad)
			g.Expect(err).To(HaveOccurred())
			g.Expect(err.Error()).NotTo(ContainSubstring("secret"))
		})
	}
}

func TestCredentials(t *testing.T) {
	g := NewWithT(t)
	var many []string
	for i := range 12 {
		many = append(many, fmt.Sprintf("JTI=%d", i))
	}
	text, err := sidecar.FormatCredentials(many)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(sidecar.ParseCredentials(text)).To(Equal(many[4:]), "the newest credentials stay")
	g.Expect(sidecar.ParseCredentials("")).To(BeEmpty())
	for _, bad := range []string{"", "abc", "JTI=a,JTI=b"} {
		_, err := sidecar.FormatCredentials([]string{bad})
		g.Expect(err).To(HaveOccurred(), bad)
	}
}

func work() sidecar.Work {
	return sidecar.Work{
		Task: task.Task{
			Kind: task.KindBackup, Cluster: "c", Namespace: "shop", Repository: &task.Repository{
				Name: "web", Directory: "/web",
			},
		},
		Args: []string{"--exclude=*.tmp"}, Keys: sidecar.KeysOf("shop", "web"), KeysVersion: "v",
		Assignments: []sidecar.Assignment{
			{
				Host: "pod-1", Attempt: 1, Since: metav1.Unix(100, 0),
				Components: []sidecar.Component{{Component: task.Component{Name: "pod-1"}, Volume: "data"}},
			},
			{
				Host: "pod-0", Attempt: 2, Since: metav1.Unix(100, 0), Pod: "db-0", PodUID: "u0",
				Components: []sidecar.Component{{Component: task.Component{Name: "pod-0", Path: "a"}, Volume: "data"}},
			},
		},
	}
}

func TestWorkIsReadAsItWasWritten(t *testing.T) {
	g := NewWithT(t)
	text, err := sidecar.Encode(work())
	g.Expect(err).NotTo(HaveOccurred())
	got, err := sidecar.Decode(text)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(got.Version).To(Equal(sidecar.Version))
	g.Expect(got.Args).To(Equal(work().Args))
	g.Expect([]string{got.Assignments[0].Host, got.Assignments[1].Host}).To(Equal([]string{"pod-0", "pod-1"}),
		"assignments are in order")
	g.Expect(got.For("u0").Host).To(Equal("pod-0"))
	g.Expect(got.For("")).To(BeNil(), "work without a pod belongs to no pod")
	g.Expect(got.For("other")).To(BeNil())
	g.Expect(got.TaskOf(got.For("u0")).Components).To(Equal([]task.Component{{Name: "pod-0", Path: "a"}}))
	again, err := sidecar.Encode(got)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(again).To(Equal(text), "equal work gives equal text")

	got.Assign(sidecar.Assignment{Host: "pod-0", Attempt: 1})
	g.Expect(got.Assignments).To(HaveLen(2))
	g.Expect(got.Host("pod-0").Attempt).To(Equal(1))
	got.Withdraw("pod-0")
	g.Expect(got.Host("pod-0")).To(BeNil())
}

func TestWorkThatCantBeDone(t *testing.T) {
	g := NewWithT(t)
	large := work()
	for i := range 2000 {
		a := large.Assignments[0]
		a.Host = fmt.Sprintf("pod-%d", i+10)
		large.Assignments = append(large.Assignments, a)
	}
	_, err := sidecar.Encode(large)
	g.Expect(err).To(MatchError(sidecar.ErrTooLarge))
	for name, text := range map[string]string{
		"nothing":         "",
		"another version": `{"version":2,"task":{}}`,
		"no host":         `{"version":1,"task":{},"assignments":[{"attempt":1,"components":[{"name":"a"}]}]}`,
		"one host twice":  `{"version":1,"task":{},"assignments":[{"host":"a","attempt":1,"components":[{"name":"a"}]},{"host":"a","attempt":1,"components":[{"name":"b"}]}]}`,
		"no components":   `{"version":1,"task":{},"assignments":[{"host":"a","attempt":1}]}`,
		"too much":        strings.Repeat(" ", sidecar.MaxWorkBytes) + `{"version":1}`,
	} {
		t.Run(name, func(t *testing.T) {
			_, err := sidecar.Decode(text)
			NewWithT(t).Expect(err).To(HaveOccurred())
		})
	}
}
