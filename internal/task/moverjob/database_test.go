package moverjob_test

import (
	"fmt"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/catalog"
	"github.com/cairn-backup/cairn/internal/catalog/catalogtest"
	"github.com/cairn-backup/cairn/internal/task"
	"github.com/cairn-backup/cairn/internal/task/moverjob"
)

// databaseTask resolves a task of the catalog for a database in the namespace shop.
func databaseTask(
	t testing.TB, addon, name, params string, restore bool, vars catalog.Variables, components ...string,
) (v1alpha1.ResolvedTask, []catalog.ComponentStream, *v1alpha1.ResolvedError) {
	t.Helper()
	g := NewWithT(t)
	functions, addons := catalogtest.Shipped(t)
	lookup := func(n string) *v1alpha1.Function { return functions[n] }
	vars.MoverImage, vars.TargetHost, vars.TargetPort, vars.TargetImage = "example.com/mover:v1", "db.shop.svc", "1234",
		"example.com/database@sha256:abc"
	info := v1alpha1.AddonInfo{
		Name:  addon,
		Tasks: []v1alpha1.TaskReference{{Name: name, Params: &apiextensionsv1.JSON{Raw: []byte(params)}}},
	}
	for _, a := range addons {
		if a.Name != addon {
			continue
		}
		resolved, _, refusal := catalog.Resolve(a, lookup, info, restore, vars)
		if refusal != nil {
			return resolved, nil, refusal
		}
		resolved.Database = &v1alpha1.ResolvedDatabase{
			MoverImage: vars.MoverImage, SecretName: "db-auth", PasswordKey: "root-password", TLSSecretName: "db-ca",
			ImagePullSecrets: []corev1.LocalObjectReference{{Name: "registry"}},
		}
		streams, refusal := catalog.Streams(a, lookup, info, restore, vars, components)
		return resolved, streams, refusal
	}
	g.Expect(addon).To(BeNil(), "the catalog has no such Addon")
	return v1alpha1.ResolvedTask{}, nil, nil
}

// The golden files hold every program of the catalog, because users of a database want to know first what runs there.
func TestTheProgramsOfTheCatalog(t *testing.T) {
	for name, tc := range map[string]struct {
		addon, task, params string
		restore             bool
		vars                catalog.Variables
		components          []string
	}{
		"postgres everything": {
			addon: "postgres-addon", task: "logical-backup", params: `{"secretName":"a"}`,
		},
		"postgres databases": {
			addon: "postgres-addon", task: "logical-backup",
			params: `{"databases":"shop, Crm","schemas":"public","tables":"a*,b","args":"--no-owner '--exclude-table=x y'","sslMode":"require"}`,
		},
		"postgres of a target with a name": {
			addon: "postgres-addon", task: "logical-backup", params: `{}`,
			vars: catalog.Variables{TargetDatabase: "app"},
		},
		"postgres base backup": {addon: "postgres-addon", task: "physical-backup", params: `{}`},
		"postgres restore of everything": {
			addon: "postgres-addon", task: "logical-backup-restore", params: `{}`, restore: true, components: []string{
				"dump",
			},
		},
		"postgres restore that is confirmed": {
			addon: "postgres-addon", task: "logical-backup-restore", params: `{"args":"--no-owner"}`, restore: true,
			components: []string{"dump-shop"}, vars: catalog.Variables{Confirm: "uid"},
		},
		"mariadb everything": {addon: "mariadb-addon", task: "logical-backup", params: `{}`},
		"mariadb databases": {
			addon: "mariadb-addon", task: "logical-backup",
			params: `{"databases":"shop","tables":"a,b","args":"--skip-events"}`,
		},
		"mariadb restore": {
			addon: "mariadb-addon", task: "logical-backup-restore", params: `{}`, restore: true, components: []string{
				"dump", "dump-shop",
			},
		},
		"mariadb physical backup": {
			addon: "mariadb-addon", task: "physical-backup", params: `{"args":"--throttle=100"}`,
		},
		"mysql everything": {addon: "mysql-addon", task: "logical-backup", params: `{}`},
		"mysql restore": {
			addon: "mysql-addon", task: "logical-backup-restore", params: `{}`, restore: true, components: []string{
				"dump-shop",
			},
		},
		"redis": {
			addon: "redis-addon", task: "logical-backup", params: `{"user":"backup"}`,
		},
		"redis restore": {
			addon: "redis-addon", task: "logical-backup-restore", params: `{}`, restore: true, components: []string{
				"dump",
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			resolved, streams, refusal := databaseTask(t, tc.addon, tc.task, tc.params, tc.restore, tc.vars,
				tc.components...)
			g.Expect(refusal).To(BeNil())
			g.Expect(resolved.Image).To(Equal("example.com/database@sha256:abc"))
			for _, s := range streams {
				for _, f := range s.Stream.Files {
					g.Expect(filesNamed(s.Stream)).To(ContainElement(task.StreamDir+"/"+f.Name),
						"the program looks for a file where the mover writes it")
				}
			}
			text, err := yaml.Marshal(streams)
			g.Expect(err).NotTo(HaveOccurred())
			golden(t, "program/"+name+".yaml", text)
		})
	}
}

// filesNamed returns the paths in the directory of a stream's files that its arguments and environment name.
func filesNamed(s *v1alpha1.ResolvedStream) []string {
	var out []string
	note := func(text string) {
		if i := strings.Index(text, task.StreamDir); i >= 0 {
			out = append(out, text[i:])
		}
	}
	for _, word := range s.Command {
		note(word)
	}
	for _, a := range s.Args {
		note(a.Value)
	}
	for _, e := range s.Env {
		note(e.Value)
	}
	return out
}

func TestStreamsThatAreRefused(t *testing.T) {
	for name, tc := range map[string]struct {
		addon, task, params string
		restore             bool
		vars                catalog.Variables
		components          []string
		reason, says        string
	}{
		"a name that is no part of a component's": {
			addon: "postgres-addon", task: "logical-backup", params: `{"databases":"a/b"}`,
			reason: v1alpha1.ReasonInvalidParameters, says: `"a/b" cannot be dumped on its own`,
		},
		"a name that looks like an option": {
			addon: "mariadb-addon", task: "logical-backup", params: `{"databases":"--all"}`,
			reason: v1alpha1.ReasonInvalidParameters, says: "cannot be dumped on its own",
		},
		"too many": {
			addon: "mariadb-addon", task: "logical-backup", params: `{"databases":"` + strings.Repeat("a,", 33) + `"}`,
			reason: v1alpha1.ReasonInvalidParameters, says: "at most 32",
		},
		"a quote that is not closed": {
			addon: "redis-addon", task: "logical-backup", params: `{"args":"'a"}`,
			reason: v1alpha1.ReasonInvalidParameters, says: "a quote is not closed",
		},
		"a component of a volume": {
			addon: "mariadb-addon", task: "logical-backup-restore", params: `{}`, restore: true,
			components: []string{"pvc"}, reason: v1alpha1.ReasonComponentNotFound,
			says: "component pvc is not the dump of a database",
		},
		"a task for volumes": {
			addon: "pvc-addon", task: "logical-backup", params: `{}`, reason: v1alpha1.ReasonInvalidTask,
			says: "the target is a database",
		},
		"schemas of no database": {
			addon: "postgres-addon", task: "logical-backup", params: `{"schemas":"a"}`,
			reason: v1alpha1.ReasonInvalidParameters, says: `"schemas" needs the parameter "databases"`,
		},
		"tables of no database": {
			addon: "mysql-addon", task: "logical-backup", params: `{"tables":"a"}`,
			reason: v1alpha1.ReasonInvalidParameters, says: `"tables" needs the parameter "databases"`,
		},
		"tables of everything": {
			addon: "mariadb-addon", task: "logical-backup", params: `{"tables":"a","databases":""}`,
			vars: catalog.Variables{TargetDatabase: "app"}, reason: v1alpha1.ReasonInvalidParameters,
			says: `"tables" needs the parameter "databases"`,
		},
		"schemas of the target's database": {
			addon: "postgres-addon", task: "logical-backup", params: `{"schemas":"a"}`, vars: catalog.Variables{
				TargetDatabase: "app",
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			_, _, refusal := databaseTask(t, tc.addon, tc.task, tc.params, tc.restore, tc.vars, tc.components...)
			if tc.reason == "" {
				g.Expect(refusal).To(BeNil())
				return
			}
			g.Expect(refusal).To(HaveField("Reason", tc.reason))
			g.Expect(refusal.Message).To(ContainSubstring(tc.says))
		})
	}
}

func TestATaskForADatabaseNeedsOne(t *testing.T) {
	g := NewWithT(t)
	functions, addons := catalogtest.Shipped(t)
	for _, a := range addons {
		if a.Name == "postgres-addon" {
			_, _, refusal := catalog.Resolve(a, func(n string) *v1alpha1.Function { return functions[n] },
				v1alpha1.AddonInfo{
					Name:  a.Name,
					Tasks: []v1alpha1.TaskReference{{Name: "logical-backup"}},
				}, false, catalog.Variables{MoverImage: "mover:v1"})
			g.Expect(refusal).To(HaveField("Message", ContainSubstring("a task whose target is a database")))
		}
	}
}

// Only the mover and the programs that it runs see the Secret of the database, and no container has a value of it in
// its arguments or environment. A step sees nothing of it, and the programs see nothing else of the mover.
func TestTheJobsOfADatabase(t *testing.T) {
	g := NewWithT(t)
	in := backupInput()
	var streams []catalog.ComponentStream
	var refusal *v1alpha1.ResolvedError
	in.Target.Task, streams, refusal = databaseTask(t, "postgres-addon", "logical-backup", `{"databases":"shop,crm"}`,
		false, catalog.Variables{})
	g.Expect(refusal).To(BeNil())
	in.Host = v1alpha1.ResolvedHost{
		Name:            "target",
		SecurityContext: v1alpha1.MoverSecurityContext{RunAsUser: new(moverjob.DefaultUser)},
	}
	for _, s := range streams {
		in.Host.Volumes = append(in.Host.Volumes, v1alpha1.ResolvedVolume{Component: s.Component, Stream: s.Stream})
	}
	// A step of the user before the mover.
	in.Target.Task.Steps = []v1alpha1.ResolvedStep{{
		Function: "announce", TargetAccess: v1alpha1.TargetAccessReadOnly,
		Container: corev1.Container{Name: "announce-0", Image: "example.com/announce:v1"},
	}}
	job, err := moverjob.BackupJob(in)
	g.Expect(err).NotTo(HaveOccurred())
	pod := job.Spec.Template.Spec
	for _, c := range pod.InitContainers {
		for _, m := range c.VolumeMounts {
			g.Expect(m.Name).NotTo(Or(Equal("credentials"), Equal("encryption"), Equal("token")), c.Name)
			if c.Name != task.ProgramContainer {
				g.Expect(m.Name).NotTo(Equal("cairn-database"), c.Name)
			}
		}
	}
	g.Expect(pod.InitContainers[0].Image).To(Equal("example.com/mover:v1"), "the mover is installed first")
	program := pod.InitContainers[2]
	g.Expect(program.Command).To(Equal([]string{"/cairn/bin/mover"}))
	g.Expect(program.Args).To(Equal([]string{"programs", task.ProgramSocket}))
	g.Expect(program.Image).To(Equal("example.com/database@sha256:abc"))
	g.Expect(program.RestartPolicy).To(HaveValue(Equal(corev1.ContainerRestartPolicyAlways)))
	g.Expect(pod.Containers[0].Image).To(Equal("example.com/mover:v1"))
	text, err := yaml.Marshal(job)
	g.Expect(err).NotTo(HaveOccurred())
	golden(t, "backup of a database.yaml", text)

	decoded, err := task.Decode([]byte(job.Spec.Template.Annotations[v1alpha1.AnnotationTask]), task.KindBackup)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(decoded.Components).To(HaveLen(2))
	g.Expect(decoded.Components[1].Stream).To(Equal(streams[1].Stream))
}

// The API server refuses a pod whose annotations have more than 256 KiB.
func TestATaskWithAsManyDatabasesAsThereMayBeFitsIntoAJob(t *testing.T) {
	names := make([]string, 32)
	for i := range names {
		names[i] = fmt.Sprintf("%02d-%s", i, strings.Repeat("n", 58))
	}
	for _, addon := range []string{"postgres-addon", "mariadb-addon", "mysql-addon"} {
		t.Run(addon, func(t *testing.T) {
			g := NewWithT(t)
			in := backupInput()
			var streams []catalog.ComponentStream
			var refusal *v1alpha1.ResolvedError
			in.Target.Task, streams, refusal = databaseTask(t, addon, "logical-backup",
				`{"databases":"`+strings.Join(names, ",")+`"}`, false, catalog.Variables{})
			g.Expect(refusal).To(BeNil())
			in.Host = v1alpha1.ResolvedHost{Name: "target"}
			for _, s := range streams {
				in.Host.Volumes = append(in.Host.Volumes, v1alpha1.ResolvedVolume{
					Component: s.Component, Stream: s.Stream,
				})
			}
			job, err := moverjob.BackupJob(in)
			g.Expect(err).NotTo(HaveOccurred())
			size := 0
			for key, value := range job.Spec.Template.Annotations {
				size += len(key) + len(value)
			}
			t.Logf("%d bytes of annotations", size)
			g.Expect(size).To(BeNumerically("<", 200<<10))
			decoded, err := task.Decode([]byte(job.Spec.Template.Annotations[v1alpha1.AnnotationTask]), task.KindBackup)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(decoded.Components).To(HaveLen(len(names)))
			for i, c := range decoded.Components {
				g.Expect(c.Stream).To(Equal(streams[i].Stream), c.Name)
			}
		})
	}
}
