// Written by `python -m schemas.generate`; edit that instead.

/** The login at the courier's portal. Neither part shows in a repr, an error text or a plain dump. */
export interface Credentials {
  username: string
  password: string
}

/** One order of the batch. */
export interface Order {
  itemId: string
  orderId: string
  /** What the robot types in: any JSON object, passed through uninterpreted. */
  pedidoInput: Record<string, unknown>
}

/** A job: identified by workspaceId and jobId together, done at most once. Use workspaceId as the key. */
export interface JobSubmitted {
  /** Unique in its workspace; known for a retention after the job's end. Trying a failed job again takes a new one. */
  jobId: string
  /** Decides the partition; a workspace's jobs run one after the other. */
  workspaceId: string
  /** The courier. Informative. */
  carrier?: string | null
  credentials: Credentials
  orders: Array<Order>
  /** The jobId, in this workspace, of the ended job whose orders these are. It can be tried again once. */
  resubmissionOf?: string | null
}

/** The robot is done with a batch. That all orders failed is a completion too. */
export interface BatchCompleted {
  jobId: string
  /** As in the submission: a completion of another workspace changes nothing. */
  workspaceId: string
  successCount: number
  errorCount: number
}

/** What the robot reported of an order. The first report of an order counts. */
export interface OrderReported {
  workspaceId: string
  jobId: string
  itemId: string
  status: "success" | "error"
  trackingNumber?: string | null
  /** The robot's own code: validation, portal, timeout or unknown by now. */
  errorType?: string | null
  /** The robot's own words, as it sent them: they may hold what it typed in. */
  errorMessage?: string | null
  /** When the bridge took the report. */
  reportedAt: string
}

/** What somebody asks for. Each is applied once, by its controlId. */
export interface Control {
  controlId: string
  /** The last two say what was done: workers do nothing for them. */
  action: "hold" | "release" | "cancel" | "give_up" | "resubmit" | "redrive"
  /** Null in a hold or release of everything, which is a record in each partition. */
  workspaceId?: string | null
  /** The job that is cancelled, given up or resubmitted; null in a hold or release. */
  jobId?: string | null
  /** Who asks for it. */
  actor: string
  /** Why, for people. */
  reason: string
  requestedAt: string
  /** What was done: the new job's id, or that of the letter. */
  detail?: string | null
}

/** What the robot has reported of an order. The last three fields are there if they were reported. */
export interface OrderOutcome {
  itemId: string
  status: "success" | "error" | "unreported"
  trackingNumber?: string | null
  errorType?: string | null
  /** Cut to a bound, and scrubbed of secrets. */
  errorMessage?: string | null
}

/** The robot reported every order. Orders may have failed: see errorCount. */
export interface JobCompleted {
  jobId: string
  workspaceId: string
  /** Orders in the submission; null when it could not be read. */
  orderCount: number | null
  /** What is known of each order by now; null where the batch is not followed order by order. */
  orders?: Array<OrderOutcome> | null
  /** The job whose orders this one tried again. */
  resubmissionOf?: string | null
  /** When the submission was taken in. */
  submittedAt: string
  /** When the job was claimed for its last call to the robot; null where every call was refused before any effect. */
  dispatchedAt: string | null
  /** When the robot's 2xx answer came. */
  acceptedAt: string | null
  endedAt: string
  status: "completed"
  successCount: number
  errorCount: number
  /** True when successCount + errorCount is not orderCount. */
  countsMismatch: boolean
}

/** Who ended a job, by which control, and why. */
export interface StoppedBy {
  controlId: string
  actor: string
  reason: string
}

/** The job is not tried again. Look at robotMayHaveReceived before you submit its orders anew. */
export interface JobFailed {
  jobId: string
  workspaceId: string
  /** Orders in the submission; null when it could not be read. */
  orderCount: number | null
  /** What is known of each order by now; null where the batch is not followed order by order. */
  orders?: Array<OrderOutcome> | null
  /** The job whose orders this one tried again. */
  resubmissionOf?: string | null
  /** When the submission was taken in. */
  submittedAt: string
  /** When the job was claimed for its last call to the robot; null where every call was refused before any effect. */
  dispatchedAt: string | null
  /** When the robot's 2xx answer came. */
  acceptedAt: string | null
  endedAt: string
  status: "failed"
  /** Why, as a code. The list may grow: take an unknown one as a plain failure. */
  reason: string
  /** Why, for people: bounded and scrubbed of secrets. */
  error: string
  /** True when the robot may have typed orders in, so that submitting them again can ship them twice. */
  robotMayHaveReceived: boolean
  /** HTTP status of the robot's answer; null when it gave none. */
  robotStatus: number | null
  /** Of a job that was cancelled or given up; else null. */
  control?: StoppedBy | null
}

/** The outcome stays as it was; this is all that is known by now. The last record of a job has the most. */
export interface JobAmended {
  jobId: string
  workspaceId: string
  /** The ce_id of the job's outcome. */
  outcomeId: string
  /** That of the outcome. */
  status: "completed" | "failed"
  /** That of the outcome; null for a completed job. */
  reason: string | null
  successCount: number | null
  /** What a completion said; null where there was none. */
  errorCount: number | null
  orderCount: number | null
  /** What is known of each order by now; null where the batch is not followed order by order. */
  orders: Array<OrderOutcome> | null
  amendedAt: string
}

/** The record of each topic. */
export interface Records {
  "robot.job.submitted": JobSubmitted
  "robot.job.batch_completed": BatchCompleted
  "robot.order.reported": OrderReported
  "robot.job.control": Control
  "robot.job.completed": JobCompleted
  "robot.job.failed": JobFailed
  "robot.job.amended": JobAmended
}
