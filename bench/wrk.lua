-- One script for every plan. It reads the plan (written by bench/load.py) from the file in VRM_BENCH_PLAN.
-- wrk gives each of its threads a Lua state of its own; the suite uses one thread.
local plan = dofile(os.getenv("VRM_BENCH_PLAN"))
local turn, waiting, first = 0, {}, 1

wrk.method = plan.method
for name, value in pairs(plan.headers) do wrk.headers[name] = value end

local function filled(pieces)
   local parts = {}
   for i, piece in ipairs(pieces) do
      if piece == "{fresh}" then
         piece = plan.prefix .. string.format("%016x", turn)
      elseif piece == "{once}" then
         piece = once[turn % #once + 1]
      elseif piece == "{also}" then
         piece = also[turn % #also + 1]
      elseif piece == "{token}" then
         piece = waiting[first]
         waiting[first], first = nil, first + 1
      end
      parts[i] = piece
   end
   return table.concat(parts)
end

function init()
   once, also = {}, {}
   for line in io.lines(plan.values) do
      local values = #once < plan.once and once or also
      values[#values + 1] = line
   end
   for i, token in ipairs(plan.chain) do waiting[i] = token end
   plan.last = #plan.chain
   wrong = 0
end

function request()
   turn = turn + 1
   if plan.marked ~= "" then wrk.headers[plan.marked] = filled(plan.head) end
   local path = plan.paths[turn % #plan.paths + 1]
   if plan.method == "GET" then return wrk.format(nil, path) end
   return wrk.format(nil, path, nil, filled(plan.body))
end

function setup(thread)
   the_thread = thread
end

-- Defined only where it is needed: wrk copies every answer into Lua for it.
if #plan.chain > 0 or plan.expect ~= 200 or plan.holds ~= "" then
   function response(status, _, answer)
      if status ~= plan.expect or not string.find(answer, plan.holds, 1, true) then
         wrong, status_of_wrong = wrong + 1, status
      end
      if #plan.chain > 0 then
         plan.last = plan.last + 1
         waiting[plan.last] = string.match(answer, '"refresh_token": ?"([^"]+)"') or "none"
      end
   end
end

function done(summary, latency)
   local failed = summary.errors
   -- where every answer is looked at, those with another status are counted already
   local unseen = response and 0 or failed.status
   io.write(string.format("result %d %d %.6f %.1f %.1f %d\n",
      summary.requests,
      (the_thread:get("wrong") or 0) + failed.connect + failed.read + failed.write + unseen + failed.timeout,
      summary.duration / 1e6,
      latency:percentile(50),
      latency:percentile(99),
      the_thread:get("status_of_wrong") or 0))
end
