package moverjob_test

import (
	"testing"

	. "github.com/onsi/gomega"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/catalog"
	"github.com/cairn-backup/cairn/internal/catalog/catalogtest"
	"github.com/cairn-backup/cairn/internal/task/moverjob"
)

// A base backup becomes a directory of a volume. An invalid directory is refused before a Job is created; so is a
// database as the target.
func TestABaseBackupIsUnpackedIntoADirectory(t *testing.T) {
	functions, addons := catalogtest.Shipped(t)
	resolve := func(params string) (v1alpha1.ResolvedTask, *v1alpha1.ResolvedError) {
		for _, a := range addons {
			if a.Name == "postgres-addon" {
				reference := v1alpha1.TaskReference{
					Name:   "physical-backup-restore",
					Params: &apiextensionsv1.JSON{Raw: []byte(params)},
				}
				got, _, refusal := catalog.Resolve(a, func(n string) *v1alpha1.Function { return functions[n] },
					v1alpha1.AddonInfo{
						Name:  a.Name,
						Tasks: []v1alpha1.TaskReference{reference},
					}, true, catalog.Variables{
						MoverImage: "mover:v1", TargetKind: "PersistentVolumeClaim", TargetName: "data",
					})
				return got, refusal
			}
		}
		return v1alpha1.ResolvedTask{}, nil
	}
	g := NewWithT(t)
	for params, want := range map[string]string{
		`{}`:                        "--unpack=pgdata",
		`{"directory":"18/docker"}`: "--unpack=18/docker",
	} {
		got, refusal := resolve(params)
		g.Expect(refusal).To(BeNil(), params)
		g.Expect(got.Image).To(Equal("mover:v1"))
		g.Expect(got.Args).To(Equal([]string{"restore", want, "--cache=false", "--scratch-dir=/tmp"}))
	}
	for _, directory := range []string{".", "/", "/var/lib", "..", "a/../.."} {
		_, refusal := resolve(`{"directory":"` + directory + `"}`)
		g.Expect(refusal).To(HaveField("Reason", v1alpha1.ReasonInvalidParameters), directory)
		g.Expect(refusal.Message).To(ContainSubstring(`the parameter "directory" is "`+directory+
			`" instead of a directory inside the volume`), directory)
	}
	_, _, refusal := databaseTask(t, "postgres-addon", "physical-backup-restore", `{}`, true,
		catalog.Variables{}, "dump")
	g.Expect(refusal).To(HaveField("Message", ContainSubstring("restores into a PersistentVolumeClaim")))
}

// A restore by a program that unpacks is a restore into volumes, in an image other than the mover's.
func TestAProgramUnpacksIntoAVolume(t *testing.T) {
	g := NewWithT(t)
	functions, addons := catalogtest.Shipped(t)
	lookup := func(n string) *v1alpha1.Function { return functions[n] }
	vars := catalog.Variables{
		MoverImage: "example.com/mover:v1", TargetKind: "PersistentVolumeClaim", TargetName: "data",
	}
	for _, a := range addons {
		if a.Name != "mariadb-addon" {
			continue
		}
		info := v1alpha1.AddonInfo{Name: a.Name, Tasks: []v1alpha1.TaskReference{{Name: "physical-backup-restore"}}}
		_, _, refusal := catalog.Resolve(a, lookup, info, true, vars)
		g.Expect(refusal).To(HaveField("Message", ContainSubstring(`"image"`)), "the image of the server is unknown")
		info.Tasks[0].Params = &apiextensionsv1.JSON{
			Raw: []byte(`{"image":"example.com/mariadb:11.4","args":"--use-memory=1G"}`),
		}
		resolved, _, refusal := catalog.Resolve(a, lookup, info, true, vars)
		g.Expect(refusal).To(BeNil())
		stream, refusal := catalog.Unpacker(a, lookup, info, vars)
		g.Expect(refusal).To(BeNil())
		in := restoreInput()
		in.Resolved.Task = resolved
		in.Host = v1alpha1.ResolvedRestoreHost{
			Name:    "target",
			Volumes: []v1alpha1.ResolvedRestoreVolume{{Component: "dump", ID: "k1", ClaimName: "data", Stream: stream}},
		}
		in.Restore.Group = true
		job, err := moverjob.RestoreJob(in)
		g.Expect(err).NotTo(HaveOccurred())
		text, err := yaml.Marshal(job)
		g.Expect(err).NotTo(HaveOccurred())
		golden(t, "restore of the files of a database.yaml", text)
	}
	_, _, refusal := databaseTask(t, "mariadb-addon", "physical-backup-restore", `{"image":"a"}`, true,
		catalog.Variables{}, "dump")
	g.Expect(refusal).To(HaveField("Message", ContainSubstring("restores into a PersistentVolumeClaim")))
}

// The files of a server are mounted where the server has them, but read-only.
func TestTheJobThatReadsTheFilesOfAServer(t *testing.T) {
	g := NewWithT(t)
	in := backupInput()
	var streams []catalog.ComponentStream
	var refusal *v1alpha1.ResolvedError
	in.Target.Task, streams, refusal = databaseTask(t, "mariadb-addon", "physical-backup", `{}`, false,
		catalog.Variables{})
	g.Expect(refusal).To(BeNil())
	in.Host.Volumes = []v1alpha1.ResolvedVolume{{
		Component: "dump", Stream: streams[0].Stream, ClaimName: "data-mariadb-0", MountPath: "/var/lib/mysql",
		SubPath: "mysql",
	}}
	job, err := moverjob.BackupJob(in)
	g.Expect(err).NotTo(HaveOccurred())
	text, err := yaml.Marshal(job)
	g.Expect(err).NotTo(HaveOccurred())
	golden(t, "backup of the files of a database.yaml", text)
}
