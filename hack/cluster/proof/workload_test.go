package proof

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func deploymentWithPVC(t *testing.T) {
	apply(t, `
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 64Mi}}}
`)
	field(t, 10*time.Second, "pvc/data", "{.status.phase}", "Pending") // waits for its first consumer
	apply(t, `
apiVersion: v1
kind: ConfigMap
metadata: {name: greeting}
data: {text: hello}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: app}
spec:
  selector: {matchLabels: {app: app}}
  strategy: {type: Recreate}
  template:
    metadata: {labels: {app: app}}
    spec:
      # The namespace controller sleeps half the longest grace period (30 s by
      # default) before it looks whether a namespace is empty.
      terminationGracePeriodSeconds: 1
      securityContext: {runAsUser: 1234, runAsGroup: 1234, fsGroup: 1234}
      containers:
      - name: app
        image: IMAGE
        args: [serve, ":8080", /data]
        ports: [{containerPort: 8080}]
        readinessProbe: {httpGet: {path: /, port: 8080}, periodSeconds: 1}
        volumeMounts:
        - {name: data, mountPath: /data}
        - {name: mix, mountPath: /mix}
        - {name: scratch, mountPath: /scratch}
      volumes:
      - {name: data, persistentVolumeClaim: {claimName: data}}
      - name: mix
        projected:
          sources:
          - configMap: {name: greeting}
          - downwardAPI: {items: [{path: podname, fieldRef: {fieldPath: metadata.name}}]}
          - serviceAccountToken: {path: token, audience: proof}
      - {name: scratch, emptyDir: {medium: Memory}}
---
apiVersion: v1
kind: Service
metadata: {name: app}
spec: {selector: {app: app}, ports: [{port: 80, targetPort: 8080}]}
`)
	field(t, 60*time.Second, "deployment/app", "{.status.readyReplicas}", "1")
	field(t, 5*time.Second, "pvc/data", "{.status.phase}", "Bound")
}

func jobWritesPVC(t *testing.T) {
	apply(t, job("writer", "data", "write /data/file precious"))
	field(t, 60*time.Second, "job/writer", "{.status.succeeded}", "1")
	equal(t, must(t, "", "logs", "job/writer"), "wrote /data/file")
}

func execInPod(t *testing.T) {
	equal(t, toolbox(t, "cat", "/data/file"), "precious")
}

func execStdin(t *testing.T) {
	must(t, "", "exec", "-i", "deploy/app", "--", "/toolbox", "write", "/data/own", "mine")
}

func projectedAndMemoryVolumes(t *testing.T) {
	out := toolbox(t, "cat", "/mix/text", "/mix/podname", "/mix/token")
	if !strings.HasPrefix(out, "hello"+"app-") || strings.Count(out, ".") != 2 {
		t.Fatalf("projected volume holds %q", out)
	}
	toolbox(t, "write", "/scratch/x", "y")
}

func serviceAccountReadsAPI(t *testing.T) {
	apply(t, `
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: reader}
rules: [{apiGroups: [""], resources: [configmaps], verbs: [get]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: reader}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: reader}
subjects: [{kind: ServiceAccount, name: default}]
`)
	const path = "/api/v1/namespaces/" + ns
	eventually(t, 10*time.Second, "allowed read", func() error {
		out, err := kubectl("", "exec", "deploy/app", "--", "/toolbox", "api", path+"/configmaps/greeting")
		if err == nil && !strings.Contains(out, `"hello"`) {
			err = fmt.Errorf("got %s", out)
		}
		return err
	})
	if _, err := kubectl("", "exec", "deploy/app", "--", "/toolbox", "api", path+"/secrets"); err == nil ||
		!strings.Contains(err.Error(), "403") {
		t.Fatalf("reading secrets must be forbidden, got %v", err)
	}
}

func cronJobFires(t *testing.T) {
	apply(t, `
apiVersion: batch/v1
kind: CronJob
metadata: {name: tick}
spec:
  schedule: "* * * * *"
  timeZone: Europe/Berlin
  jobTemplate:
    spec: {template: {spec: {restartPolicy: Never, containers: [{name: c, image: IMAGE, args: [echo, tick]}]}}}
`)
	eventually(t, 90*time.Second, "scheduled job succeeded", func() error {
		out, err := kubectl("", "get", "jobs", "-o",
			`jsonpath={.items[?(@.metadata.ownerReferences[0].name=="tick")].status.succeeded}`)
		if err == nil && !strings.HasPrefix(out, "1") {
			err = fmt.Errorf("succeeded=%q", out)
		}
		return err
	})
}

func resourceLimits(t *testing.T) {
	apply(t, `
apiVersion: v1
kind: Pod
metadata: {name: limited}
spec:
  restartPolicy: Never
  containers: [{name: c, image: IMAGE, args: [echo, hi], resources: {limits: {memory: 32Mi, cpu: 500m}}}]
`)
	field(t, 30*time.Second, "pod/limited", "{.status.phase}", "Succeeded")
}

func job(name, claim, args string) string {
	volumes := ""
	mounts := ""
	if claim != "" {
		mounts = ", volumeMounts: [{name: data, mountPath: /data}]"
		volumes = "\n      volumes: [{name: data, persistentVolumeClaim: {claimName: " + claim + "}}]"
	}
	quoted := `"` + strings.ReplaceAll(args, " ", `", "`) + `"`
	return fmt.Sprintf(`
apiVersion: batch/v1
kind: Job
metadata: {name: %s}
spec:
  backoffLimit: 2
  template:
    spec:
      restartPolicy: Never
      securityContext: {runAsUser: 1234, runAsGroup: 1234, fsGroup: 1234}
      containers: [{name: c, image: %s, args: [%s]%s}]%s
`, name, image, quoted, mounts, volumes)
}
