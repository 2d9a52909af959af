package catalog_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/catalog"
	"github.com/cairn-backup/cairn/internal/catalog/catalogtest"
	"github.com/cairn-backup/cairn/internal/variables"
)

// Every built-in task accepts the parameters of a cache, with the meaning that KubeStash gives them.
func TestEveryTaskOfTheCatalogCanHaveACache(t *testing.T) {
	functions, addons := catalogtest.Shipped(t)
	resolve := func(addon *v1alpha1.Addon, name string, restore bool, params string) (v1alpha1.ResolvedTask,
		*v1alpha1.ResolvedError,
	) {
		reference := v1alpha1.TaskReference{Name: name, Params: &apiextensionsv1.JSON{Raw: []byte(params)}}
		got, _, refusal := catalog.Resolve(addon, func(n string) *v1alpha1.Function { return functions[n] },
			v1alpha1.AddonInfo{
				Name:  addon.Name,
				Tasks: []v1alpha1.TaskReference{reference},
			}, restore, catalogtest.CatalogVariables(addon.Name))
		return got, refusal
	}
	for _, addon := range addons {
		for _, restore := range []bool{false, true} {
			tasks := addon.Spec.BackupTasks
			if restore {
				tasks = addon.Spec.RestoreTasks
			}
			for _, declared := range tasks {
				if declared.Driver == v1alpha1.DriverVolumeSnapshotter {
					continue // There is no repository whose data could be cached.
				}
				t.Run(fmt.Sprint(addon.Name, " ", declared.Name), func(t *testing.T) {
					g := NewWithT(t)
					resolve := func(addon *v1alpha1.Addon, name string, restore bool,
						params string,
					) (v1alpha1.ResolvedTask, *v1alpha1.ResolvedError) {
						all := slices.DeleteFunc(
							[]string{catalogtest.NeededParams(declared), strings.Trim(params, "{}")},
							func(s string) bool { return s == "" })
						return resolve(addon, name, restore, "{"+strings.Join(all, ",")+"}")
					}
					got, refusal := resolve(addon, declared.Name, restore, `{}`)
					g.Expect(refusal).To(BeNil())
					g.Expect(got.Args).To(ContainElements("--cache=false", "--scratch-dir=/tmp"))
					g.Expect(got.Container).To(BeNil(), "the mover needs no further mount")

					got, refusal = resolve(addon, declared.Name, restore,
						`{"enableCache":"true","scratchDir":"/kubestash-tmp/"}`)
					g.Expect(refusal).To(BeNil())
					g.Expect(got.Args).To(ContainElements("--cache=true", "--scratch-dir=/kubestash-tmp/"))
					g.Expect(got.Container.VolumeMounts).To(Equal([]corev1.VolumeMount{{
						Name:      variables.WorkVolume,
						MountPath: "/kubestash-tmp",
					}}))

					for dir, says := range map[string]string{
						"/cairn/credentials": "lies in /cairn",
						"cache":              "is not a directory below /", "/": "is not a directory",
					} {
						_, refusal = resolve(addon, declared.Name, restore, `{"scratchDir":"`+dir+`"}`)
						g.Expect(refusal).To(HaveField("Reason", v1alpha1.ReasonInvalidParameters), dir)
						g.Expect(refusal.Message).To(And(HavePrefix("addon.tasks[0].params.scratchDir: "),
							ContainSubstring(says)))
					}
					_, refusal = resolve(addon, declared.Name, restore, `{"enableCache":"yes"}`)
					g.Expect(refusal).To(HaveField("Reason", v1alpha1.ReasonInvalidParameters))
					g.Expect(refusal.Message).
						To(HaveSuffix(`the parameter "enableCache" is "yes" instead of true or false`))
					got, refusal = resolve(addon, declared.Name, restore, `{"scratchDir":"/tmp/below"}`)
					g.Expect(refusal).To(BeNil())
					g.Expect(got.Container).To(BeNil(), "the volume is mounted there already")
				})
			}
		}
	}
}

// An Addon that mounts its own volume at the directory keeps that volume, as KubeStash's Addons do.
func TestTheScratchDirectoryOfAnAddonIsItsOwn(t *testing.T) {
	g := NewWithT(t)
	addon := &v1alpha1.Addon{Spec: v1alpha1.AddonSpec{BackupTasks: []v1alpha1.Task{{
		Name: "t", Function: "f", Parameters: []v1alpha1.TaskParameter{
			{Parameter: v1alpha1.Parameter{Name: "scratchDir", Default: "/kubestash-tmp"}},
		},
		VolumeTemplate: []v1alpha1.VolumeTemplate{{Name: "kubestash-tmp-volume", Source: &v1alpha1.TaskVolumeSource{
			VolumeSource: v1alpha1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}},
		}}},
		VolumeMounts: []corev1.VolumeMount{{Name: "kubestash-tmp-volume", MountPath: "/kubestash-tmp"}},
	}}}}
	function := &v1alpha1.Function{Spec: v1alpha1.FunctionSpec{Image: "mover:v1"}}
	got, _, refusal := catalog.Resolve(addon, func(string) *v1alpha1.Function { return function },
		v1alpha1.AddonInfo{
			Name:  "a",
			Tasks: []v1alpha1.TaskReference{{Name: "t"}},
		}, false, catalog.Variables{MoverImage: "mover:v1"})
	g.Expect(refusal).To(BeNil())
	g.Expect(got.Container.VolumeMounts).To(Equal([]corev1.VolumeMount{{
		Name:      "kubestash-tmp-volume",
		MountPath: "/kubestash-tmp",
	}}))
}
