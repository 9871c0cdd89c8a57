"""The code of the pool of worker threads: LLVM IR with places in braces."""

TEXT = """
@{state} = external global [{size} x i8]
declare i32 @pthread_create(ptr, ptr, ptr, ptr)
declare i32 @clock_gettime(i32, ptr)
declare i32 @pthread_join(ptr, ptr)
declare i32 @pthread_sigmask(i32, ptr, ptr)
declare i32 @sigfillset(ptr)
declare i32 @pthread_mutex_init(ptr, ptr)
declare i32 @pthread_mutex_lock(ptr)
declare i32 @pthread_mutex_unlock(ptr)
declare i32 @pthread_cond_init(ptr, ptr)
declare i32 @pthread_cond_wait(ptr, ptr)
declare i32 @pthread_cond_signal(ptr)
declare i32 @pthread_cond_broadcast(ptr)
declare i64 @llvm.umin.i64(i64, i64)
{declare_pause}

define void @{entry}(ptr %task, ptr %context, i64 %blocks, i64 %threads) {{
entry:
  %usual = load i64, ptr {usual}
  %own_count = and i64 %threads, {mask}
  %any = icmp eq i64 %own_count, 0
  %asked = select i1 %any, i64 %usual, i64 %own_count
  %limit = load i64, ptr {limit}
  %capped = call i64 @llvm.umin.i64(i64 %asked, i64 %limit)
  %free = icmp eq i64 %limit, 0
  %allowed = select i1 %free, i64 %asked, i64 %capped
  %count = call i64 @llvm.umin.i64(i64 %allowed, i64 %blocks)
  %several = icmp ugt i64 %count, 1
  %calls = icmp ne i64 %threads, %own_count
  %needed = or i1 %several, %calls
  br i1 %needed, label %take, label %alone
take:
  %taken = cmpxchg ptr {busy}, i64 0, i64 1 seq_cst seq_cst
  %mine = extractvalue {{ i64, i1 }} %taken, 1
  br i1 %mine, label %own, label %alone
own:
  %began = call i64 @now(i32 {clock})
  %resume = load i64, ptr {resume}
  %early = icmp ult i64 %began, %resume
  %others = sub i64 %count, 1
  %wanted = select i1 %early, i64 0, i64 %others
  %helpers = call i64 @helpers(i64 %wanted)
  %get = load ptr, ptr {get}
  %set = load ptr, ptr {set}
  %known = icmp ne ptr %get, null
  %quiet = and i1 %calls, %known
  br i1 %quiet, label %ask, label %publish
ask:
  %library = call i32 %get()
  %threaded = icmp sgt i32 %library, 1
  br i1 %threaded, label %calm, label %publish
calm:
  call void %set(i32 1)
  br label %publish
publish:
  %restore = phi i32 [ 0, %own ], [ 0, %ask ], [ %library, %calm ]
  store ptr %task, ptr {task}
  store ptr %context, ptr {context}
  %high = shl i64 %blocks, 32
  store atomic i64 %high, ptr {next} seq_cst, align 8
  store atomic i64 0, ptr {left} seq_cst, align 8
  %last = load i64, ptr {job}
  %job = add i64 %last, 1
  store i64 %job, ptr {job}
  %closed = shl i64 %job, 32
  %open = or i64 %closed, %helpers
  store atomic i64 %open, ptr {gate} seq_cst, align 8
  %sleepers = load atomic i64, ptr {sleepers} seq_cst, align 8
  %asleep = icmp ne i64 %sleepers, 0
  %hired = icmp ne i64 %helpers, 0
  %call = and i1 %asleep, %hired
  br i1 %call, label %wake, label %work
wake:
  %w0 = call i32 @pthread_mutex_lock(ptr {mutex})
  %w1 = call i32 @pthread_cond_broadcast(ptr {work})
  %w2 = call i32 @pthread_mutex_unlock(ptr {mutex})
  br label %work
work:
  %used = call i64 @now(i32 {own_clock})
  %own_blocks = call i64 @work(i64 1)
  %used_up = call i64 @now(i32 {own_clock})
  %before = atomicrmw xchg ptr {gate}, i64 %closed seq_cst
  %room = and i64 %before, 4294967295
  %entered = sub i64 %helpers, %room
  br label %look
look:
  %turn = phi i64 [ 0, %work ], [ %turns, %again ]
  %left = load atomic i64, ptr {left} seq_cst, align 8
  %all = icmp eq i64 %left, %entered
  br i1 %all, label %end, label %again
again:
  {pause}
  %turns = add i64 %turn, 1
  %patient = icmp ult i64 %turns, {spin}
  br i1 %patient, label %look, label %sleep
sleep:
  store atomic i64 1, ptr {waiting} seq_cst, align 8
  %s0 = call i32 @pthread_mutex_lock(ptr {mutex})
  br label %check
check:
  %now = load atomic i64, ptr {left} seq_cst, align 8
  %over = icmp eq i64 %now, %entered
  br i1 %over, label %awake, label %rest
rest:
  %s1 = call i32 @pthread_cond_wait(ptr {done}, ptr {mutex})
  br label %check
awake:
  %s2 = call i32 @pthread_mutex_unlock(ptr {mutex})
  store atomic i64 0, ptr {waiting} seq_cst, align 8
  br label %end
end:
  %alone_anyway = icmp eq i64 %entered, 0
  br i1 %alone_anyway, label %settle, label %judge
judge:
  %ended = call i64 @now(i32 {clock})
  %spent = sub i64 %ended, %began
  %own_time = sub i64 %used_up, %used
  %product = mul i64 %own_time, %blocks
  %nothing = icmp eq i64 %own_blocks, 0
  %divisor = select i1 %nothing, i64 1, i64 %own_blocks
  %by_myself = udiv i64 %product, %divisor
  %slower = icmp ugt i64 %spent, %by_myself
  %not_idle = xor i1 %nothing, true
  %regret = and i1 %slower, %not_idle
  br i1 %regret, label %pause, label %settle
pause:
  %lost = sub i64 %spent, %by_myself
  %long = mul i64 %lost, {patience}
  %until = add i64 %ended, %long
  store i64 %until, ptr {resume}
  br label %settle
settle:
  %changed = icmp ne i32 %restore, 0
  br i1 %changed, label %give, label %free_again
give:
  call void %set(i32 %restore)
  br label %free_again
free_again:
  store atomic i64 0, ptr {busy} seq_cst, align 8
  ret void
alone:
  %i = phi i64 [ 0, %entry ], [ 0, %take ], [ %following, %alone ]
  call void %task(ptr %context, i64 %i)
  %following = add i64 %i, 1
  %more = icmp ult i64 %following, %blocks
  br i1 %more, label %alone, label %finished
finished:
  ret void
}}

define internal i64 @now(i32 %clock) {{
  %time = alloca [2 x i64]
  %e = call i32 @clock_gettime(i32 %clock, ptr %time)
  %seconds = load i64, ptr %time
  %rest = getelementptr i64, ptr %time, i64 1
  %nanoseconds = load i64, ptr %rest
  %whole = mul i64 %seconds, 1000000000
  %sum = add i64 %whole, %nanoseconds
  ret i64 %sum
}}

define internal i64 @work(i64 %step) {{
entry:
  %task = load ptr, ptr {task}
  %context = load ptr, ptr {context}
  %upwards = icmp eq i64 %step, 1
  br label %next
next:
  %done = phi i64 [ 0, %entry ], [ %one_more, %run ]
  %range = atomicrmw add ptr {next}, i64 %step seq_cst
  %low = and i64 %range, 4294967295
  %high = ashr i64 %range, 32
  %more = icmp slt i64 %low, %high
  br i1 %more, label %run, label %end
run:
  %last = sub i64 %high, 1
  %block = select i1 %upwards, i64 %low, i64 %last
  call void %task(ptr %context, i64 %block)
  %one_more = add i64 %done, 1
  br label %next
end:
  ret i64 %done
}}

define internal i64 @helpers(i64 %wanted) {{
entry:
  %set = alloca [128 x i8], align 16
  %old = alloca [128 x i8], align 16
  %most = call i64 @llvm.umin.i64(i64 %wanted, i64 {most})
  %count = load i64, ptr {started}
  %stop = load atomic i64, ptr {stop} seq_cst, align 8
  %stopped = icmp ne i64 %stop, 0
  br i1 %stopped, label %none, label %first
none:
  ret i64 0
first:
  %enough = icmp uge i64 %count, %most
  br i1 %enough, label %given, label %mask
mask:
  %m0 = call i32 @sigfillset(ptr %set)
  %m1 = call i32 @pthread_sigmask(i32 {setmask}, ptr %set, ptr %old)
  br label %start
start:
  %i = phi i64 [ %count, %mask ], [ %next, %good ]
  %offset = mul i64 %i, 8
  %slot = getelementptr i8, ptr {handles}, i64 %offset
  %failed = call i32 @pthread_create(ptr %slot, ptr null, ptr @worker, ptr null)
  %ok = icmp eq i32 %failed, 0
  br i1 %ok, label %good, label %unmask
good:
  %next = add i64 %i, 1
  %more = icmp ult i64 %next, %most
  br i1 %more, label %start, label %unmask
unmask:
  %have = phi i64 [ %i, %start ], [ %next, %good ]
  store i64 %have, ptr {started}
  %m2 = call i32 @pthread_sigmask(i32 {setmask}, ptr %old, ptr null)
  %some = call i64 @llvm.umin.i64(i64 %have, i64 %most)
  ret i64 %some
given:
  ret i64 %most
}}

define internal ptr @worker(ptr %nothing) {{
entry:
  br label %look
look:
  %turn = phi i64 [ 0, %entry ], [ 0, %left ], [ 0, %up ], [ %turns, %again ]
  %gate = load atomic i64, ptr {gate} seq_cst, align 8
  %room = and i64 %gate, 4294967295
  %open = icmp ne i64 %room, 0
  br i1 %open, label %enter, label %again
again:
  {pause}
  %turns = add i64 %turn, 1
  %patient = icmp ult i64 %turns, {spin}
  br i1 %patient, label %look, label %sleep
enter:
  %less = sub i64 %gate, 1
  %try = cmpxchg ptr {gate}, i64 %gate, i64 %less seq_cst seq_cst
  %in = extractvalue {{ i64, i1 }} %try, 1
  br i1 %in, label %inside, label %again
inside:
  %blocks = call i64 @work(i64 {downwards})
  %x = atomicrmw add ptr {left}, i64 1 seq_cst
  %waiting = load atomic i64, ptr {waiting} seq_cst, align 8
  %tell = icmp ne i64 %waiting, 0
  br i1 %tell, label %signal, label %left
signal:
  %t0 = call i32 @pthread_mutex_lock(ptr {mutex})
  %t1 = call i32 @pthread_cond_signal(ptr {done})
  %t2 = call i32 @pthread_mutex_unlock(ptr {mutex})
  br label %left
left:
  br label %look
sleep:
  %s0 = call i32 @pthread_mutex_lock(ptr {mutex})
  %s1 = atomicrmw add ptr {sleepers}, i64 1 seq_cst
  br label %check
check:
  %stop = load atomic i64, ptr {stop} seq_cst, align 8
  %stopped = icmp ne i64 %stop, 0
  %word = load atomic i64, ptr {gate} seq_cst, align 8
  %rooms = and i64 %word, 4294967295
  %opened = icmp ne i64 %rooms, 0
  %go = or i1 %stopped, %opened
  br i1 %go, label %up_or_out, label %rest
rest:
  %s2 = call i32 @pthread_cond_wait(ptr {work}, ptr {mutex})
  br label %check
up_or_out:
  %s3 = atomicrmw sub ptr {sleepers}, i64 1 seq_cst
  %s4 = call i32 @pthread_mutex_unlock(ptr {mutex})
  br i1 %stopped, label %out, label %up
up:
  br label %look
out:
  ret ptr null
}}

define void @graphjit_workers_ready() {{
  %r0 = call i32 @pthread_mutex_init(ptr {mutex}, ptr null)
  %r1 = call i32 @pthread_cond_init(ptr {work}, ptr null)
  %r2 = call i32 @pthread_cond_init(ptr {done}, ptr null)
  ret void
}}

define void @graphjit_workers_stop() {{
entry:
  %s0 = call i32 @pthread_mutex_lock(ptr {mutex})
  store atomic i64 1, ptr {stop} seq_cst, align 8
  %s1 = call i32 @pthread_cond_broadcast(ptr {work})
  %s2 = call i32 @pthread_mutex_unlock(ptr {mutex})
  %count = load i64, ptr {started}
  br label %next
next:
  %i = phi i64 [ 0, %entry ], [ %following, %join ]
  %more = icmp ult i64 %i, %count
  br i1 %more, label %join, label %end
join:
  %offset = mul i64 %i, 8
  %slot = getelementptr i8, ptr {handles}, i64 %offset
  %handle = load ptr, ptr %slot
  %j = call i32 @pthread_join(ptr %handle, ptr null)
  %following = add i64 %i, 1
  br label %next
end:
  ret void
}}
"""
