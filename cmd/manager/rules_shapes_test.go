package main

import (
	"github.com/cairn-backup/cairn/internal/kubestash"
)

// Rules that several kinds share are tested with one kind: a RestoreSession for the shape of a pod and its volumes, a
// BackupConfiguration for the pod that starts a run.

const (
	podJob    = "a mover has no access to the node's processes"
	oneVolume = "set exactly one of persistentVolumeClaim, emptyDir, configMap, secret, csi, nfs and hostPath: " +
		"use any other source through a PersistentVolumeClaim"
	oneTask = "set exactly one of persistentVolumeClaim, emptyDir, configMap, secret, csi, nfs, hostPath and " +
		"volumeClaimTemplate: use any other source through a PersistentVolumeClaim"
	noLabels = "labels of backup.cairn.dev, of Jobs and app.kubernetes.io/managed-by are reserved for Cairn and " +
		"Kubernetes"
	noPriority   = "priority needs priorityClassName: Kubernetes only accepts the priority of a class"
	noAnnotation = "annotations of backup.cairn.dev are reserved for Cairn"
	noProvider   = "providers swift, b2 and rest are not supported: set provider s3 with the endpoint of the " +
		"service, which OpenStack Swift and Backblaze B2 have"
	noBlock = "spec.storage.swift, b2 and rest are not supported: set spec.storage.s3 with the endpoint of the " +
		"service, which OpenStack Swift and Backblaze B2 have"
)

// refusedTemplates are wrong values of addon.jobTemplate, by the expected message.
var refusedTemplates = map[string]string{
	"hostNetwork can't be set: a mover has no access to the node's network":              `{spec: {hostNetwork: true}}`,
	"hostPID can't be set: " + podJob:                                                    `{spec: {hostPID: true}}`,
	"hostIPC can't be set: " + podJob:                                                    `{spec: {hostIPC: true}}`,
	"shareProcessNamespace can't be set: a step could read the credentials of the mover": `{spec: {shareProcessNamespace: true}}`,
	"args can't be set here: set params of the task, or write a Function":                `{spec: {args: [x]}}`,
	noPriority: `{spec: {priority: 1}}`,
	"initContainers can't be set: write a Function for each and name them as steps of an Addon's task": `{spec: {initContainers: [{name: x}]}}`,
	"livenessProbe can't be set: a mover ends by itself, or at the session's timeout":                  `{spec: {livenessProbe: {periodSeconds: 1}}}`,
	"readinessProbe can't be set: nothing calls a mover":                                               `{spec: {readinessProbe: {periodSeconds: 1}}}`,
	"lifecycle can't be set: use a step of the task, or a hook of the session":                         `{spec: {lifecycle: {stopSignal: SIGTERM}}}`,
	"podPlacementPolicy can't be set: set affinity, nodeSelector or topologySpreadConstraints":         `{spec: {podPlacementPolicy: {name: x}}}`,
	"windowsOptions can't be set: movers are Linux containers":                                         `{spec: {containerSecurityContext: {windowsOptions: {runAsUserName: x}}}}`,
	noLabels:     `{metadata: {labels: {batch.kubernetes.io/controller-uid: v}}}`,
	noAnnotation: `{metadata: {annotations: {backup.cairn.dev/x: v}}}`,
	oneVolume:    `{spec: {volumes: [{name: v, emptyDir: {}, hostPath: {path: /x}}]}}`,
}

// refusedSettings are wrong values of addon.containerRuntimeSettings, by the expected message.
var refusedSettings = map[string]string{
	"livenessProbe can't be set: a container in a Job ends by itself, or at the session's timeout": `{livenessProbe: {periodSeconds: 1}}`,
	"readinessProbe can't be set: nothing calls a container in a Job":                              `{readinessProbe: {periodSeconds: 1}}`,
	"nice can't be set: set resources, which limit a container on every node":                      `{nice: {adjustment: 1}}`,
	"ionice can't be set: set resources, which limit a container on every node":                    `{ionice: {class: 2}}`,
}

// refusedTasks are wrong values of addon.tasks[], by the expected message.
var refusedTasks = map[string]string{
	oneTask: `{name: logical-backup-restore, addonVolumes: [{name: v, source: {}}]}`,
	"a claim that is restored into gets a new volume: leave volumeName out": `{name: logical-backup-restore, targetVolumes: {volumeClaimTemplates: [{metadata: {name: c}, spec: {volumeName: x}}]}}`,
	`supported values: "PersistentVolumeClaim"`:                             `{name: logical-backup-restore, targetVolumes: {volumeClaimTemplates: [{apiVersion: v1, kind: Volume, metadata: {name: c}, spec: {}}]}}`,
	"a claim can only be restored from a VolumeSnapshot of its namespace: set dataSource or dataSourceRef " +
		"with apiGroup snapshot.storage.k8s.io, kind VolumeSnapshot and a name": `{name: volume-snapshot-restore, targetVolumes: {volumeClaimTemplates: [{metadata: {name: c}, spec: {dataSource: {kind: PersistentVolumeClaim, name: x}}}]}}`,
}

// refusedTriggers are wrong values of scheduler.jobTemplate, by the expected message.
var refusedTriggers = map[string]string{
	"parallelism must be 1: a slot has one run":                      `{parallelism: 2}`,
	"completions must be 1: a slot has one run":                      `{completions: 2}`,
	"completionMode must be NonIndexed: a slot has one run":          `{completionMode: Indexed}`,
	"a suspended Job starts nothing: set scheduler.suspend":          `{suspend: true}`,
	"args can't be set: the pod that starts a run does nothing else": `{template: {spec: {args: [x]}}}`,
	"env can't be set: the pod that starts a run reads no variables. " +
		"Set variables of a backup in addon.tasks[*].variables": `{template: {spec: {env: [{name: x}]}}}`,
	"volumes can't be set: the pod that starts a run needs none":                              `{template: {spec: {volumes: [{name: x}]}}}`,
	"initContainers can't be set: use a hook of the session, or a step of an Addon's task":    `{template: {spec: {initContainers: [{name: x}]}}}`,
	"hostNetwork can't be set: the pod that starts a run has no access to the node's network": `{template: {spec: {hostNetwork: true}}}`,
	noPriority: `{template: {spec: {priority: 1}}}`,
	"containerSecurityContext can't be set: the pod that starts a run has the least rights already": `{template: {spec: {containerSecurityContext: {runAsUser: 1}}}}`,
	"spec.sessions[0].scheduler.jobTemplate.template.spec.securityContext.runAsUser in body should be greater than " +
		"or equal to 1": `{template: {spec: {securityContext: {runAsUser: 0}}}}`,
	"serviceAccountName can't be set: the pod that starts a run uses cairn-trigger, which is allowed nothing else": `{template: {spec: {serviceAccountName: x}}}`,
}

// refusedStorages are wrong values of a BackupStorage's spec, by the expected message.
var refusedStorages = map[string]string{
	noLabels:     `{runtimeSettings: {pod: {podLabels: {job-name: v}}}}`,
	noAnnotation: `{runtimeSettings: {pod: {podAnnotations: {backup.cairn.dev/x: v}}}}`,
	noPriority:   `{runtimeSettings: {pod: {priority: 1}}}`,
	"automountServiceAccountToken can't be true: only the mover's container gets a token": `{runtimeSettings: {pod: {automountServiceAccountToken: true}}}`,
	"the provider must be one of s3, gcs, azure, local, sftp, webdav":                     `{storage: {provider: floppy, s3: null}}`,
	noProvider:                            `{storage: {provider: swift, s3: null}}`,
	noBlock:                               `{storage: {b2: {bucket: b}}}`,
	"provider gcs needs spec.storage.gcs": `{storage: {provider: gcs, s3: null}}`,
	"provider azure needs spec.storage.azure":           `{storage: {provider: azure, s3: null}}`,
	"provider sftp needs spec.storage.sftp":             `{storage: {provider: sftp, s3: null}}`,
	"provider webdav needs spec.storage.webdav":         `{storage: {provider: webdav, s3: null}}`,
	"spec.storage.gcs needs provider gcs":               `{storage: {gcs: {bucket: bbb}}}`,
	"spec.storage.azure needs provider azure":           `{storage: {azure: {storageAccount: account, container: ccc}}}`,
	"spec.storage.sftp needs provider sftp":             `{storage: {sftp: {host: h, path: /p, secretName: s, username: u}}}`,
	"spec.storage.webdav needs provider webdav":         `{storage: {webdav: {url: "https://dav.example.com/b", secretName: s}}}`,
	"the path must be absolute and must not contain ..": `{storage: {provider: local, s3: null, local: {hostPath: {path: a/..}}}}`,
	"the URL must have a scheme and a host, and no credentials and no query, " +
		"for example https://dav.example.com/backups": `{storage: {provider: webdav, s3: null, webdav: {url: "https://u:p@dav.example.com/b", secretName: s}}}`,
	"the mountPath must be an absolute path without . and .., of letters, digits, and the characters _ . -": `{storage: {provider: local, s3: null, local: {persistentVolumeClaim: {claimName: c}, mountPath: a}}}`,
	"the mountPath must not be in /cairn, /tmp, /mover, /proc, /sys, /dev, /etc, /run or /var, " +
		"which a mover needs itself": `{storage: {provider: local, s3: null, local: {persistentVolumeClaim: {claimName: c}, mountPath: /tmp/x}}}`,
	"spec.storage.local must have exactly one of persistentVolumeClaim, nfs and hostPath: " +
		"use any other sort of volume through a PersistentVolumeClaim": `{storage: {provider: local, s3: null, local: {persistentVolumeClaim: {claimName: c}, hostPath: {path: /x}}}}`,
}

const oneDataSource = "name a Snapshot in dataSource, or leave dataSource out and name a VolumeSnapshot in " +
	"spec.dataSource of each of targetVolumes.volumeClaimTemplates"

// newClaims lets a target of a RestoreBatch create its claims.
const newClaims = `addon: {name: pvc-addon, tasks: [{name: logical-backup-restore, targetVolumes: {volumeClaimTemplates: [{metadata: {name: c}, spec: {}}]}}]}`

// refusedRestores are wrong values of a RestoreSession's spec, by the expected message.
var refusedRestores = map[string]string{
	"verify needs overwritePolicy Overwrite or IfNewer: it can't tell a kept file from a wrong one":         `{confirm: u, overwritePolicy: Never, verify: true}`,
	"overwritePolicy and deleteExtraFiles are for a volume that holds data: set confirm to its claim's UID": `{overwritePolicy: Overwrite}`,
	"name a target to restore into, or targetVolumes.volumeClaimTemplates to make new claims, not both":     `{target: null}`,
	"set snapshot (a name or latest) or pitr.targetTime, not both":                                          `{dataSource: {snapshot: latest, pitr: {targetTime: "2026-11-20T00:00:00Z"}}}`,
	"rules select the components to restore: leave components out":                                          `{dataSource: {components: [pod-0], rules: [{targetHosts: [pod-1]}]}}`,
	oneDataSource: `{addon: {name: pvc-addon, tasks: [{name: volume-snapshot-restore, targetVolumes: {volumeClaimTemplates: [{metadata: {name: c}, spec: {dataSource: {apiGroup: snapshot.storage.k8s.io, kind: VolumeSnapshot, name: x}}}]}}]}}`,
	"targetVolumes.replicas is for templates that name VolumeSnapshots: a Snapshot itself defines which pods " +
		"it has data of, and dataSource.rules give the data to other pods": `{target: null, addon: {name: pvc-addon, tasks: [{name: volume-snapshot-restore, targetVolumes: {replicas: 3, volumeClaimTemplates: [{metadata: {name: c}, spec: {}}]}}]}}`,
	"confirm is for a target that exists: leave it out for new claims": `{target: null, confirm: u, addon: {name: pvc-addon, tasks: [{name: logical-backup-restore, targetVolumes: {volumeClaimTemplates: [{metadata: {name: c}, spec: {}}]}}]}}`,
}

func init() {
	accepted["Addon"] = `{backupTasks: [{name: t, function: f}]}`
	accepted["Function"] = `{image: i}`
	refused["Addon"] = map[string]string{
		`{backupTasks: [{name: t, function: f, steps: [{name: a, function: f}]}]}`:                             "a task has either a function or steps",
		`{backupTasks: [{name: t, function: null, steps: [{name: a, function: f, targetAccess: ReadWrite}]}]}`: "the last step is the mover: leave targetAccess out",
	}
	refused["Function"] = map[string]string{
		`{ports: [{containerPort: 1, hostPort: 1}]}`:                                                "hostPort can't be set: a Function has no access to the node's network",
		`{stream: {command: [d], fileName: d, env: [{name: A, value: x, secretKey: k}]}}`:           "a variable has either a value or a secretKey",
		`{stream: {command: [d], fileName: d, args: [{value: x, each: "${tables}", words: true}]}}`: "an argument has each or words, not both",
		`{command: [x], stream: {command: [pg_dump], fileName: dump}}`: "a Function with a stream has no command: " +
			"the mover runs stream.command, and args are the arguments of the mover",
	}
	for _, d := range kubestash.Drivers {
		refused["Addon"][`{backupTasks: [{name: t, function: f, driver: `+d.Name+`}]}`] = d.Says
		refused["Repository"][`{driver: `+d.Name+`}`] = d.Says
	}
	add := func(kind string, all map[string]string, before, after string) {
		for says, shape := range all {
			refused[kind][before+shape+after] = says
		}
	}
	add("RestoreSession", refusedTemplates,
		`{addon: {name: pvc-addon, tasks: [{name: logical-backup-restore}], jobTemplate: `, `}}`)
	add("RestoreSession", refusedSettings,
		`{addon: {name: pvc-addon, tasks: [{name: logical-backup-restore}], containerRuntimeSettings: `, `}}`)
	add("RestoreSession", refusedTasks, `{addon: {name: pvc-addon, tasks: [`, `]}}`)
	add("RestoreSession", refusedRestores, "", "")
	add("BackupStorage", refusedStorages, "", "")
	add("BackupConfiguration", refusedTriggers, `{sessions: [{name: s, addon: `+addonInfo+`, repositories: [`+
		repositoryInfo+`], scheduler: {schedule: "@daily", jobTemplate: `, `}}]}`)
}
