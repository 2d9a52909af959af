package moverjob_test

import (
	"testing"

	. "github.com/onsi/gomega"
	"sigs.k8s.io/yaml"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/catalog"
	"github.com/cairn-backup/cairn/internal/task/moverjob"
)

// An Addon and a Function in the style of KubeStash's users: volumes whose sources name variables, parameters for which
// a Function has defaults, and a policy that overrides a volume by the name of a variable.
const (
	shapedAddon = `
metadata: {name: shaped}
spec:
  backupTasks:
  - name: logical-backup
    function: shaped
    executor: Job
    singleton: true
    parameters:
    - {name: enableCache, usage: "", required: false, default: "true"}
    - {name: scratchDir, default: /shaped-tmp}
    volumeTemplate:
    - {name: shaped-tmp, source: {emptyDir: {}}}
    - {name: shaped-data, source: {persistentVolumeClaim: {claimName: "${PVC_NAME:=}"}}}
    volumeMounts:
    - {name: shaped-tmp, mountPath: /shaped-tmp}
    - {name: shaped-data, mountPath: /shaped-data}
`
	shapedFunction = `
metadata: {name: shaped}
spec:
  image: ${imageRegistry}/${imageRepo}:${imageTag}
  args:
  - backup
  - --namespace=${namespace:=default}
  - --backupsession=${backupSession:=}
  - --enable-cache=${enableCache:=}
  - --scratch-dir=${scratchDir:=}
  - --wait-timeout=${waitTimeout:=300}
  - --license-apiservice=${licenseApiService:=}
`
	shapedInfo = `
name: shaped
tasks:
- name: LogicalBackup
  params: {enableCache: "false"}
  addonVolumes:
  - {name: "${RESTIC_CACHE_VOLUME}", source: {emptyDir: {sizeLimit: 2Gi}}}
  - {name: shaped-tmp, source: {volumeClaimTemplate: {metadata: {name: tmp}, spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}}}}
`
)

func TestAnAddonOfKubeStashsShapeResolves(t *testing.T) {
	g := NewWithT(t)
	var addon v1alpha1.Addon
	g.Expect(yaml.UnmarshalStrict([]byte(shapedAddon), &addon)).To(Succeed())
	var function v1alpha1.Function
	g.Expect(yaml.UnmarshalStrict([]byte(shapedFunction), &function)).To(Succeed())
	var info v1alpha1.AddonInfo
	g.Expect(yaml.UnmarshalStrict([]byte(shapedInfo), &info)).To(Succeed())
	got, params, refusal := catalog.Resolve(&addon, func(string) *v1alpha1.Function { return &function }, info, false,
		catalog.Variables{
			MoverImage: "example.com/cairn/mover:v1", Namespace: "shop", BackupSession: "s",
			TargetKind: v1alpha1.KindPersistentVolumeClaim, TargetName: "uploads",
		})
	g.Expect(refusal).To(BeNil())
	g.Expect(got.Image).To(Equal("example.com/cairn/mover:v1"))
	g.Expect(got.Args).To(Equal([]string{
		"backup", "--namespace=shop", "--backupsession=s", "--enable-cache=false", "--scratch-dir=/shaped-tmp",
		"--wait-timeout=300", "--license-apiservice=",
	}))
	g.Expect(params).To(Equal(map[string]string{"enableCache": "false", "scratchDir": "/shaped-tmp"}))

	in := backupInput()
	in.Target.Task = got
	job, err := moverjob.BackupJob(in)
	g.Expect(err).NotTo(HaveOccurred())
	sources := map[string]string{}
	for _, v := range job.Spec.Template.Spec.Volumes {
		switch {
		case v.EmptyDir != nil && v.EmptyDir.SizeLimit != nil:
			sources[v.Name] = v.EmptyDir.SizeLimit.String()
		case v.Ephemeral != nil:
			sources[v.Name] = v.Ephemeral.VolumeClaimTemplate.Spec.Resources.Requests.Storage().String()
		case v.PersistentVolumeClaim != nil:
			sources[v.Name] = v.PersistentVolumeClaim.ClaimName
		}
	}
	g.Expect(sources).To(And(HaveKeyWithValue("work", "2Gi"), HaveKeyWithValue("shaped-tmp", "1Gi"),
		HaveKeyWithValue("shaped-data", "uploads")))
	for _, m := range job.Spec.Template.Spec.Containers[0].VolumeMounts {
		if m.Name == "shaped-data" {
			g.Expect(m.ReadOnly).To(BeTrue(), "a mover never writes to what it backs up, whatever the Addon sets")
		}
	}
}
