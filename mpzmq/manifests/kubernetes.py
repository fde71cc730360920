"""A Deployment or a StatefulSet, with its Service and its disruption budget."""

from __future__ import annotations

from .workload import MADE_BY, USER, Workload, check_image, check_secret_name, quoted

__all__ = ["kubernetes"]

PRE_STOP_SECONDS = 5
"""For name servers, and engines that ask them, to hear that a pod goes: as long as they keep an answer."""


def kubernetes(workload: Workload, image: str, *, keys: str | None = None, stateful: bool = False) -> str:
    """What ``kubectl apply -f`` takes.

    Args:
        workload: what runs.
        image: in which it is, with mpzmq.
        keys: the name of a Secret with ``container.key``, and of a ConfigMap with the public keys of who gets in; None:
            whoever reaches the pods may call everything.
        stateful: whether each pod has a name of its own, which it keeps.

    Raises:
        ValueError: the image or the Secret has a name that it cannot have.
    """
    name, image = quoted(workload.name), quoted(check_image(image))
    grace = PRE_STOP_SECONDS + workload.stop_seconds
    group = keys_mounts = keys_volumes = ""
    if keys is None:
        open_to = """\
            # Without keys, whoever reaches the pods may call every function, and read the admin endpoint: let a
            # NetworkPolicy say who does, or make this file with --keys.
            - "--insecure"
"""
    else:
        secret = quoted(check_secret_name(keys))
        group = f"""\
        # The key is mounted as a file of root's that this group may read, and nobody else.
        fsGroup: {USER}
"""
        open_to = """\
            - "--keys=/etc/mpzmq/key/container.key"
            - "--allow=/etc/mpzmq/allowed"
            # For the admin endpoint, which has no keys; the line above holds for everything else all the same.
            - "--insecure"
"""
        keys_mounts = """\
            - name: key
              mountPath: /etc/mpzmq/key
              readOnly: true
            - name: allowed
              mountPath: /etc/mpzmq/allowed
              readOnly: true
"""
        # A folder is mounted, and no single file by subPath: that one would never change.
        keys_volumes = f"""\
        - name: key
          secret:
            secretName: {secret}
            defaultMode: 256 # 0400
            items:
              - key: container.key
                path: container.key
        # Who is added here gets in, and who is taken away is cut off, about a minute later and without a restart.
        - name: allowed
          configMap:
            name: {secret}
"""
    return f"""\
{MADE_BY}
apiVersion: apps/v1
kind: {"StatefulSet" if stateful else "Deployment"}
metadata:
  name: {name}
  labels:
    app.kubernetes.io/name: {name}
spec:
  replicas: {workload.replicas}
  selector:
    matchLabels:
      app.kubernetes.io/name: {name}
{_stateful(workload) if stateful else _STATELESS}  template:
    metadata:
      labels:
        app.kubernetes.io/name: {name}
    spec:
      # preStop ({PRE_STOP_SECONDS} s), {workload.stop_reason}.
      terminationGracePeriodSeconds: {grace}
      # It asks nothing of the cluster, and its options come from here only: variables for every other service do not.
      automountServiceAccountToken: false
      enableServiceLinks: false
      securityContext:
        runAsNonRoot: true
        runAsUser: {USER}
        runAsGroup: {USER}
{group}        seccompProfile:
          type: RuntimeDefault
      # One node that is lost takes few of them along.
      topologySpreadConstraints:
        - maxSkew: 1
          topologyKey: kubernetes.io/hostname
          whenUnsatisfiable: ScheduleAnyway
          labelSelector:
            matchLabels:
              app.kubernetes.io/name: {name}
      containers:
        - name: {name}
          image: {image}
          command: ["mpzmq", "serve", {quoted(workload.server)}]
          args:
            - "--bind=tcp://0.0.0.0:{workload.port}"
            # Kubelets probe from outside of the pod. It tells names and counters, and changes nothing.
            - "--admin=0.0.0.0:{workload.admin_port}"
{open_to}            - "--drain-timeout={workload.drain_timeout:g}"
            - "--log-format=json"
          ports:
            - name: mpzmq
              containerPort: {workload.port}
            - name: admin
              containerPort: {workload.admin_port}
          # Five minutes for imports, which may be large: the endpoint answers as soon as the module is there.
          startupProbe:
            httpGet:
              path: /livez
              port: admin
            periodSeconds: 2
            timeoutSeconds: 2
            failureThreshold: 150
          # Not ready: its lifespan still begins, or somebody has stopped it. For half a minute a busy loop does not
          # count: engines see that by themselves, and would lose the link if the name forgot the pod.
          readinessProbe:
            httpGet:
              path: /readyz
              port: admin
            periodSeconds: 5
            timeoutSeconds: 5
            failureThreshold: 6
          # 70 s: a busy loop is not a dead process, and what it works on would be lost.
          livenessProbe:
            httpGet:
              path: /livez
              port: admin
            periodSeconds: 10
            timeoutSeconds: 5
            failureThreshold: 7
          lifecycle:
            preStop:
              # The name forgets the pod while it still serves; only then comes SIGTERM, and the drain.
              # (Before Kubernetes 1.30: exec, with the command ["sleep", "{PRE_STOP_SECONDS}"].)
              sleep:
                seconds: {PRE_STOP_SECONDS}
          resources:
            requests:
              cpu: "{workload.cpus}"
              memory: {workload.memory}Mi
            # No limit for the CPU: an event loop that is throttled looks busy to its engines.
            limits:
              memory: {workload.memory}Mi
          securityContext:
            allowPrivilegeEscalation: false
            readOnlyRootFilesystem: true
            capabilities:
              drop: ["ALL"]
          volumeMounts:
            - name: tmp
              mountPath: /tmp
{keys_mounts}      volumes:
        - name: tmp
          emptyDir:
            sizeLimit: 64Mi
{keys_volumes}---
# Headless: its name has the addresses of all pods that are ready. Engines pass dns://{workload.name}:{workload.port} to
# worker.group(), and spread their requests themselves. A balancer would send a whole connection to one pod.
apiVersion: v1
kind: Service
metadata:
  name: {name}
  labels:
    app.kubernetes.io/name: {name}
spec:
  clusterIP: None
  selector:
    app.kubernetes.io/name: {name}
  ports:
    - name: mpzmq
      port: {workload.port}
      targetPort: mpzmq
---
# Nodes that are drained on purpose take one of them at a time.
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {name}
  labels:
    app.kubernetes.io/name: {name}
spec:
  maxUnavailable: 1
  # One that is not ready serves nobody: it may go at any time.
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels:
      app.kubernetes.io/name: {name}
"""


_STATELESS = """\
  strategy:
    type: RollingUpdate
    rollingUpdate:
      # A new pod is ready before an old one drains.
      maxSurge: 1
      maxUnavailable: 0
"""


def _stateful(workload: Workload) -> str:
    name = workload.name
    return f"""\
  # Each pod has a name of its own that it keeps, for worker.connect(): {name}-0.{name}:{workload.port}.
  serviceName: {quoted(name)}
  # They do not wait for each other when all begin. An update still goes from one to the next.
  podManagementPolicy: Parallel
  updateStrategy:
    type: RollingUpdate
"""
