package task_test

import (
	"testing"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/task"
)

// Each name of a task becomes a part of a path, or of a key.
func TestNamesOfATaskStayInTheirDirectories(t *testing.T) {
	order := func() task.Task {
		return task.Task{
			Kind: task.KindRestore, Cluster: "c", Namespace: "shop",
			Storage: task.Storage{Namespace: "shop", Name: "s3", Spec: v1alpha1.Storage{Provider: v1alpha1.ProviderS3}},
			Repository: &task.Repository{
				Name: "web", UID: "uid-web", Directory: "shop/web", Encryption: "0", Driver: v1alpha1.DriverKopia,
			},
			Snapshot: &task.Snapshot{Name: "web-1", UID: "u"}, RestoreSession: &task.Object{Name: "back", UID: "u"},
			Components: []task.Component{{Name: "dump-Crm_2", Path: "a/..b", ID: "0f1e"}, {Name: "node-1.example.com"}},
		}
	}
	for name, edit := range map[string]func(*task.Task){
		"the namespace":                 func(o *task.Task) { o.Namespace = "../kube-system" },
		"the cluster":                   func(o *task.Task) { o.Cluster = "a/b" },
		"the storage":                   func(o *task.Task) { o.Storage.Name = ".." },
		"the UID of the repository":     func(o *task.Task) { o.Repository.UID = "../../volumes/data" },
		"the directory of the password": func(o *task.Task) { o.Repository.Encryption = "../volumes/data" },
		"the Snapshot":                  func(o *task.Task) { o.Snapshot.Name = "../other" },
		"the RestoreSession":            func(o *task.Task) { o.RestoreSession.Name = "a/b" },
		"a component":                   func(o *task.Task) { o.Components[0].Name = ".." },
		"a component in another":        func(o *task.Task) { o.Components[0].Name = "a/b" },
		"a component without a name":    func(o *task.Task) { o.Components[0].Name = "" },
		"a path":                        func(o *task.Task) { o.Components[0].Path = "a/../../b" },
		"an ID":                         func(o *task.Task) { o.Components[0].ID = "../0f1e" },
		"a size":                        func(o *task.Task) { o.Components[0].Bytes = -1 },
		"":                              func(*task.Task) {},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			o := order()
			edit(&o)
			text, err := task.Encode(o)
			g.Expect(err).NotTo(HaveOccurred())
			_, err = task.Decode([]byte(text), task.KindRestore)
			if name == "" {
				g.Expect(err).NotTo(HaveOccurred())
				g.Expect(o.Check()).To(Succeed())
				return
			}
			g.Expect(err).To(HaveOccurred())
			g.Expect(o.Check()).To(MatchError(ContainSubstring("check task: ")), "a sidecar refuses it, too")
		})
	}
}
