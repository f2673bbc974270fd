-- One script for every plan. It reads the plan (written by bench/load.py) from the file in VRM_BENCH_PLAN.
-- wrk gives each of its threads a Lua state of its own; the suite uses one thread.
local plan = dofile(os.getenv("VRM_BENCH_PLAN"))
local turn, waiting, first = 0, {}, 1

wrk.method = plan.method
for name, value in pairs(plan.headers) do wrk.headers[name] = value end

local function body()
   if #plan.chain > 0 then
      local token = waiting[first]
      waiting[first], first = nil, first + 1
      return plan.before .. token .. plan.after
   end
   if plan.fresh then
      return plan.before .. plan.prefix .. string.format("%016x", turn) .. plan.after
   end
   return plan.before
end

function init()
   if plan.proofs then
      proofs = {}
      for line in io.lines(plan.proofs) do proofs[#proofs + 1] = line end
   end
   for i, token in ipairs(plan.chain) do waiting[i] = token end
   plan.last = #plan.chain
   wrong = 0
end

function request()
   turn = turn + 1
   local path = plan.paths[turn % #plan.paths + 1]
   if proofs then
      wrk.headers["DPoP"] = proofs[(turn - 1) % #proofs + 1]
      path = plan.paths[1]
   end
   if plan.method == "GET" then return wrk.format(nil, path) end
   return wrk.format(nil, path, nil, body())
end

function setup(thread)
   the_thread = thread
end

-- Defined only where it is needed: wrk copies every answer into Lua for it.
if #plan.chain > 0 or plan.expect ~= 200 then
   function response(status, _, answer)
      if status ~= plan.expect then wrong = wrong + 1 end
      if #plan.chain > 0 then
         plan.last = plan.last + 1
         waiting[plan.last] = string.match(answer, '"refresh_token": ?"([^"]+)"') or "none"
      end
   end
end

function done(summary, latency)
   local failed = summary.errors
   io.write(string.format("result %d %d %.6f %.1f %.1f\n",
      summary.requests,
      (the_thread:get("wrong") or 0) + failed.connect + failed.read + failed.write + failed.status + failed.timeout,
      summary.duration / 1e6,
      latency:percentile(50),
      latency:percentile(99)))
end
