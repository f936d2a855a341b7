# A booking page in Ruby with Sinatra.
#
#   apt-get install ruby-sinatra ruby-webrick    # or: gem install sinatra rackup webrick
#   LINKPOOL_URL=… LINKPOOL_KEY=… SESSION_SECRET=… ruby booking.rb

require "cgi"
require "erb"
require "json"
require "net/http"
require "securerandom"
require "sinatra"

set :session_secret, ENV.fetch("SESSION_SECRET") # signs the cookie that remembers the visitor
set :sessions, httponly: true, same_site: :lax

LINKPOOL = URI(ENV.fetch("LINKPOOL_URL"))
KEY = ENV.fetch("LINKPOOL_KEY")
MEETING = ENV.fetch("LINKPOOL_MEETING", "demo")

# Show the visitor's own link; the same one on each visit.
get "/" do
  # Use your own id where you have one: the user's, the order's, the lead's.
  session[:visitor] ||= SecureRandom.uuid
  cache_control :no_store # nobody else may see this visitor's link
  page = "<!doctype html><meta charset=utf-8><title>Book a call</title><h1>Book a call</h1>"
  page + shown(*claim("visitor-#{session[:visitor]}"))
end

# Return the status of a claim, 0 if no linkpool answers, and its body.
def claim(customer_id)
  path = "#{LINKPOOL.path.chomp("/")}/v1/meetings/#{ERB::Util.url_encode(MEETING)}/claims?embed=inline"
  request = Net::HTTP::Post.new(path, "Content-Type" => "application/json", "X-API-Key" => KEY)
  request.body = JSON.generate(customer_id: customer_id)
  options = { use_ssl: LINKPOOL.scheme == "https", open_timeout: 1, read_timeout: 3, max_retries: 0 }
  answer = Net::HTTP.start(LINKPOOL.host, LINKPOOL.port, **options) { |http| http.request(request) }
  [answer.code.to_i, Hash(JSON.parse(answer.body))]
rescue StandardError => error # whatever stands in the way, the page is shown
  [0, { "detail" => error.message }]
end

# Return what the page shows in the place of the booking.
def shown(status, answer)
  return answer["embed_html"] if [200, 201].include?(status) && answer["embed_html"]

  plain = answer["fallback_url"]
  return %(<a href="#{CGI.escapeHTML(plain)}">Book a time</a>) if plain

  logger.error "no link for a visitor: #{status} #{answer["detail"]}"
  "<p>Booking is not available right now. Please try again in a few minutes.</p>"
end
